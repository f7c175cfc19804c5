"""Asks a TensorFlow Serving server for the objects in image files, over gRPC or REST.

    python examples/serving_client.py --server localhost:8500 --model mine IMAGE [IMAGE ...]
    python examples/serving_client.py --server http://localhost:8501 --model mine IMAGE [IMAGE ...]

Needs `tensorflow-serving-api` (for gRPC) and nothing of the project: copy it and change it. The
images of one call go to the server in requests of `--batch_size`. A line is printed for each
object, or with `--json` one JSON object for each image:

    {"file": ..., "detections": [{"box": [ymin, xmin, ymax, xmax], "score": ..., "class": ...}]}

with boxes in pixels of the upright image and classes by name where there is a `--label_map` (the
export has one at assets/label_map.txt), else by number from 1. What is at fault, a file, a request
that the server refuses, an answer that is not one of a detector, is told in one line on standard
error, and the other images go on. Exit status: 0, or 1 if there was such a line.
"""

import argparse
import base64
import http.client
import json
import math
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

INPUTS = {
  "serving_default": "images",
  "serving_bytes": "encoded_images",
  "serving_tf_example": "tf_examples",
}
OUTPUTS = ("detection_boxes_px", "detection_scores", "detection_classes", "num_detections")
_MAX_MESSAGE_BYTES = 256 * 2**20
_MAX_QUOTED = 80


class RequestError(Exception):
  """A refusal by the server, in its own words, or an answer that is none of a detector."""


class NoServerError(RequestError):
  """No answer at all; another request would only wait for one again."""


class GrpcClient:
  """Calls a model over gRPC; `server` is host:port."""

  def __init__(self, server: str, model: str, timeout_s: float):
    options = [
      (f"grpc.max_{direction}_message_length", _MAX_MESSAGE_BYTES)
      for direction in ("send", "receive")
    ]
    self._channel = grpc.insecure_channel(server, options=options)
    self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
    self._model, self._timeout_s = model, timeout_s

  def predict(self, signature: str, values: list) -> dict[str, list]:
    """The outputs of a signature, lists with one entry for each of `values`.

    The entries are as the server sent them; `detections` checks them.

    Args:
      signature: one of `INPUTS`.
      values: bytes, or arrays uint8 [h, w, 3] of one size for `serving_default`.

    Raises:
      RequestError: the server answers with an error, with something else, or not at all.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = self._model
    request.model_spec.signature_name = signature
    if signature == "serving_default":
      values = stack(values)
    request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(values))
    request.output_filter.extend(OUTPUTS)  # Others need not travel.
    try:
      response = self._service.Predict(request, timeout=self._timeout_s)
    except grpc.RpcError as error:
      is_there = error.code() not in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
      )
      kind = RequestError if is_there else NoServerError
      raise kind(f"{error.code().name}: {error.details()}") from error
    outputs = {}
    for name in OUTPUTS:
      if name in response.outputs:
        try:
          outputs[name] = tf.make_ndarray(response.outputs[name]).tolist()
        except (TypeError, ValueError, KeyError) as error:
          raise RequestError(f"the answer's {name} is no tensor ({error})") from error
    return columns(outputs, len(values))


class RestClient:
  """Calls a model over REST; `server` is http://host:port."""

  def __init__(self, server: str, model: str, timeout_s: float):
    self._url = f"{server.rstrip('/')}/v1/models/{model}:predict"
    self._timeout_s = timeout_s

  def predict(self, signature: str, values: list) -> dict[str, list]:
    """Sends a request, like `GrpcClient.predict`."""
    instances = [
      {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value.tolist()
      for value in values
    ]
    body = json.dumps({"signature_name": signature, "instances": instances}).encode()
    request = urllib.request.Request(
      self._url, body, {"Content-Type": "application/json"}, method="POST"
    )
    try:
      with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
        content = response.read(_MAX_MESSAGE_BYTES + 1)
    except urllib.error.HTTPError as error:
      raise RequestError(f"HTTP {error.code}: {_error_text(error)}") from error
    except OSError as error:  # Among them URLError and time-outs.
      raise NoServerError(f"no answer: {getattr(error, 'reason', error)}") from error
    except http.client.HTTPException as error:
      raise RequestError(f"no whole answer: {error!r}") from error
    if len(content) > _MAX_MESSAGE_BYTES:
      raise RequestError(f"the answer is longer than {_MAX_MESSAGE_BYTES} bytes")
    try:
      answer = json.loads(content)
    except (ValueError, RecursionError) as error:
      raise RequestError(f"the answer is no JSON: {quoted(content)}") from error
    rows = answer.get("predictions") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
      raise RequestError(f"the answer has no list of predictions: {quoted(answer)}")
    outputs = {}
    for name in OUTPUTS:
      if all(name in row for row in rows):
        outputs[name] = [row[name] for row in rows]
    return columns(outputs, len(values))


def columns(outputs: dict[str, Any], num_images: int) -> dict[str, list]:
  """The outputs, if there are all of `OUTPUTS`, each with an entry for each image.

  Raises:
    RequestError: an output is missing, or has another number of entries.
  """
  for name in OUTPUTS:
    if name not in outputs:
      raise RequestError(f"the answer has no {name}; accepted: a model that export.py wrote")
    entries = outputs[name]
    if not isinstance(entries, list) or len(entries) != num_images:
      number = len(entries) if isinstance(entries, list) else "no list of"
      raise RequestError(f"the answer has {number} {name} for {num_images} images")
  return outputs


def detections(
  outputs: dict[str, list], index: int, class_names: Sequence[str], score_threshold: float
) -> list[dict]:
  """The objects of one image of a request, best first.

  Args:
    outputs: what `predict` returned.
    index: of the image in the request.
    class_names: class 1 first; empty where there is no label map.
    score_threshold: smallest score.

  Raises:
    RequestError: an output is not what a detector says, or the label map is another's.
  """
  boxes, scores, classes, number = (outputs[name][index] for name in OUTPUTS)
  count = whole_number(number, "num_detections", 0)
  lists = dict(zip(OUTPUTS, (boxes, scores, classes), strict=False))
  for name, values in lists.items():
    if not isinstance(values, list):
      raise RequestError(f"{name} is {quoted(values)}; accepted: a list")
  lengths = {len(values) for values in lists.values()}
  if len(lengths) > 1 or count > min(lengths):
    told = ", ".join(f"{len(values)} {name}" for name, values in lists.items())
    raise RequestError(f"{told}, num_detections {count}; accepted: equally many, at least {count}")
  found = []
  for row in range(count):
    score = finite(scores[row], "detection_scores", row)
    if score >= score_threshold:
      class_id = whole_number(classes[row], f"detection_classes: row {row}", 1)
      if class_names and class_id > len(class_names):
        raise RequestError(
          f"detection_classes: row {row} is {class_id}, and --label_map has {len(class_names)}"
          " lines; accepted: the label map of this model"
        )
      if not isinstance(boxes[row], list) or len(boxes[row]) != 4:
        value = quoted(boxes[row])
        raise RequestError(f"detection_boxes_px: row {row} is {value}; accepted: four numbers")
      box = [round(finite(side, "detection_boxes_px", row), 3) for side in boxes[row]]
      name = class_names[class_id - 1] if class_names else class_id
      found.append({"box": box, "score": round(score, 6), "class": name})
  return found


def finite(value: Any, name: str, row: int) -> float:
  """The value, if it is a number.

  Raises:
    RequestError: it is none, or not finite.
  """
  try:
    if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
      return float(value)
  except OverflowError:  # A whole number of hundreds of digits.
    pass
  raise RequestError(f"{name}: row {row} is {quoted(value)}; accepted: a finite number")


def whole_number(value: Any, name: str, lowest: int) -> int:
  """The value, which may be a float, if it is a whole number.

  Raises:
    RequestError: it is none, or less than `lowest`.
  """
  is_number = not isinstance(value, bool) and isinstance(value, int | float)
  if not is_number or not lowest <= value < 2**31 or value != int(value):
    raise RequestError(f"{name} is {quoted(value)}; accepted: a whole number from {lowest} on")
  return int(value)


def quoted(value: Any) -> str:
  """A part of an answer for a message, harmless to a terminal and of bounded length."""
  text = repr(value)
  return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def plain(text: str) -> str:
  """The text in one line, what a terminal would obey written as escapes."""
  return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def stack(images: Sequence[np.ndarray]) -> np.ndarray:
  """Images [h, w, 3] as one array [B, h, w, 3].

  Raises:
    RequestError: their sizes differ.
  """
  if len({image.shape for image in images}) > 1:
    raise RequestError(
      "images of several sizes in one request to serving_default; accepted: one size,"
      " --batch_size=1 or --signature=serving_bytes"
    )
  return np.stack(images)


def to_value(content: bytes, signature: str):
  """Returns the input of a signature for the bytes of an image file."""
  if signature == "serving_default":
    # For sizes and formats of all kinds and for EXIF, send the file itself to `serving_bytes`.
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()
  if signature == "serving_tf_example":
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(content)
    return example.SerializeToString()
  return content


def read(path: str, signature: str):
  """Returns the input of a signature for an image file.

  Raises:
    RequestError: the file cannot be read, or is no image where it has to be decoded here.
  """
  try:
    return to_value(pathlib.Path(path).read_bytes(), signature)
  except OSError as error:
    raise RequestError(f"{path}: cannot be read ({error.strerror})") from error
  except tf.errors.InvalidArgumentError as error:
    raise RequestError(f"{path}: no image ({error.message})") from error


def read_label_map(path: str) -> list[str]:
  """Returns the class names in a file.

  Raises:
    RequestError: it cannot be read, or holds none.
  """
  try:
    names = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
  except (OSError, ValueError) as error:
    raise RequestError(f"--label_map {path!r} cannot be read ({error})") from error
  if not names:
    raise RequestError(f"--label_map {path!r} is empty; accepted: one class name a line")
  return names


def lines(file: str, found: Sequence[dict], as_json: bool) -> list[str]:
  """Returns the lines to print of an image."""
  if as_json:
    return [json.dumps({"file": file, "detections": found})]
  return [
    plain(
      f"{file}  {entry['class']}  {entry['score']:.3f} "
      + "".join(f" {side:.1f}" for side in entry["box"])
    )
    for entry in found
  ]


def run(args: argparse.Namespace, report: Callable[[RequestError], None]) -> None:
  """Prints the objects in all images, and reports what is at fault.

  Raises:
    RequestError: there is no label map or no server.
  """
  class_names = read_label_map(args.label_map) if args.label_map else []
  make = RestClient if args.server.startswith(("http://", "https://")) else GrpcClient
  client = make(args.server, args.model, args.timeout_s)
  for start in range(0, len(args.files), args.batch_size):
    values = {}
    for number in range(start, min(start + args.batch_size, len(args.files))):
      try:
        values[number] = read(args.files[number], args.signature)
      except RequestError as error:
        report(error)
    try:
      outputs = client.predict(args.signature, list(values.values())) if values else {}
    except NoServerError:
      raise
    except RequestError as error:
      report(error)
      continue
    for index, number in enumerate(values):
      file = args.files[number]
      try:
        found = detections(outputs, index, class_names, args.score_threshold)
      except RequestError as error:
        report(RequestError(f"{file}: {error}"))
      else:
        for line in lines(file, found, args.json):
          print(line)


def _error_text(error: urllib.error.HTTPError) -> str:
  """The message in a server's answer, which is JSON if the server is what it should be."""
  try:
    text = error.read(_MAX_MESSAGE_BYTES).decode("utf-8", "replace")
  except (OSError, http.client.HTTPException):
    return "no whole answer"
  try:
    return str(json.loads(text)["error"])[:2000]
  except (ValueError, KeyError, TypeError, RecursionError):
    return text[:500]


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(description="Detects objects with a TensorFlow Serving server.")
  parser.add_argument("files", nargs="+", metavar="IMAGE", help="image files")
  parser.add_argument(
    "--server", required=True, help="host:port for gRPC, http://host:port for REST"
  )
  parser.add_argument("--model", required=True, help="name that the server knows the model by")
  parser.add_argument("--signature", choices=tuple(INPUTS), default="serving_bytes")
  parser.add_argument("--batch_size", type=int, default=8, help="images in a request (default: 8)")
  parser.add_argument("--score_threshold", type=float, default=0.5, help="(default: 0.5)")
  parser.add_argument("--label_map", help="file with one class name a line")
  parser.add_argument("--timeout_s", type=float, default=60.0, help="of a request (default: 60)")
  parser.add_argument("--json", action="store_true", help="print a JSON object for each image")
  args = parser.parse_args(argv)
  if args.batch_size < 1:
    parser.error(f"--batch_size is {args.batch_size}; accepted: at least 1")
  if not args.timeout_s > 0.0:
    parser.error(f"--timeout_s is {args.timeout_s}; accepted: above 0")
  reported = []

  def report(error: RequestError) -> None:
    reported.append(error)
    print(f"error: {plain(str(error))}", file=sys.stderr)

  try:
    run(args, report)
  except RequestError as error:
    report(error)
  return 1 if reported else 0


if __name__ == "__main__":
  sys.exit(main())
