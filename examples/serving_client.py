"""Asks a TensorFlow Serving server for the objects in image files, over gRPC or REST.

    python examples/serving_client.py --server localhost:8500 --model mine IMAGE [IMAGE ...]
    python examples/serving_client.py --server http://localhost:8501 --model mine IMAGE [IMAGE ...]

Needs `tensorflow-serving-api` (for gRPC) and nothing of the project: copy it and change it. The
images of one call go to the server in requests of `--batch_size`. A line is printed for each
object, or with `--json` one JSON object for each image:

    {"file": ..., "detections": [{"box": [ymin, xmin, ymax, xmax], "score": ..., "class": ...}]}

with boxes in pixels of the upright image and classes by name where there is a `--label_map` (the
export has one at assets/label_map.txt), else by number from 1. Exit status: 0, or 1 with one line
that says what was refused.
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

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


class RequestError(Exception):
  """A refusal by the server, in its own words, or a missing server."""


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
    """The outputs of a signature, nested lists with one entry for each of `values`.

    Args:
      signature: one of `INPUTS`.
      values: bytes, or arrays uint8 [h, w, 3] of one size for `serving_default`.

    Raises:
      RequestError: the server answers with an error, or not at all.
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
      raise RequestError(f"{error.code().name}: {error.details()}") from error
    return {name: tf.make_ndarray(value).tolist() for name, value in response.outputs.items()}


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
        predictions = json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
      raise RequestError(f"HTTP {error.code}: {_error_text(error.read())}") from error
    except OSError as error:  # Among them URLError and time-outs.
      raise RequestError(f"no answer: {getattr(error, 'reason', error)}") from error
    return {name: [row[name] for row in predictions] for name in OUTPUTS}


def detections(
  outputs: dict[str, list], index: int, class_names: Sequence[str], score_threshold: float
) -> list[dict]:
  """The objects of one image of a request, best first."""
  found = []
  for i in range(int(outputs["num_detections"][index])):
    score = outputs["detection_scores"][index][i]
    if score >= score_threshold:
      class_id = int(outputs["detection_classes"][index][i])
      name = class_names[class_id - 1] if class_names else class_id
      box = [round(side, 3) for side in outputs["detection_boxes_px"][index][i]]
      found.append({"box": box, "score": round(score, 6), "class": name})
  return found


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


def run(args: argparse.Namespace) -> Iterator[str]:
  """Returns the lines to print.

  Raises:
    RequestError: the server answers with an error, or not at all.
    OSError: a file cannot be read.
    tf.errors.InvalidArgumentError: a file that has to be decoded here is no image.
  """
  class_names = []
  if args.label_map:
    class_names = pathlib.Path(args.label_map).read_text(encoding="utf-8").splitlines()
  make = RestClient if args.server.startswith(("http://", "https://")) else GrpcClient
  client = make(args.server, args.model, args.timeout_s)
  for start in range(0, len(args.files), args.batch_size):
    files = args.files[start : start + args.batch_size]
    values = [to_value(pathlib.Path(file).read_bytes(), args.signature) for file in files]
    outputs = client.predict(args.signature, values)
    for i, file in enumerate(files):
      found = detections(outputs, i, class_names, args.score_threshold)
      if args.json:
        yield json.dumps({"file": file, "detections": found})
      for entry in () if args.json else found:
        box = " ".join(f"{side:.1f}" for side in entry["box"])
        yield f"{file}  {entry['class']}  {entry['score']:.3f}  {box}"


def _error_text(body: bytes) -> str:
  """The message in a server's answer, which is JSON if the server is what it should be."""
  text = body.decode("utf-8", "replace")
  try:
    return json.loads(text)["error"]
  except (ValueError, KeyError, TypeError):
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
  try:
    for line in run(args):
      print(line)
  except (RequestError, OSError, tf.errors.InvalidArgumentError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
