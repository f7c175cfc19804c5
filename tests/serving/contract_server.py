"""A server that speaks TensorFlow Serving's protocol, to hold requests and signatures against.

It is built from the protocol's own messages and `tf.saved_model.load`, and is no more than that:
it shows that an export, its signatures and the client agree with the protocol, and nothing of how
the real server loads, batches, schedules or logs.
"""

import base64
import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import (
  get_model_metadata_pb2,
  predict_pb2,
  prediction_service_pb2_grpc,
)

_MAX_MESSAGE_BYTES = 256 * 2**20
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HTTP_STATUS = {grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.INVALID_ARGUMENT: 400}


class StatusError(Exception):
  """An answer that is an error: gRPC's code and a message."""

  def __init__(self, code: grpc.StatusCode, message: str):
    super().__init__(message)
    self.code = code


class Model:
  """A version of an export under a name.

  Attributes:
    name, version: that requests ask for.
    signatures: SignatureDef by name, as the file has them.
  """

  def __init__(self, folder: pathlib.Path, name: str, loaded: Any = None):
    """Loads the export in the folder, unless it is `loaded` already."""
    self.name, self.version = name, int(folder.name)
    self._loaded = loaded or tf.saved_model.load(str(folder))
    content = (folder / "saved_model.pb").read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    self.signatures = {
      key: value for key, value in saved.signature_def.items() if not key.startswith("__")
    }

  def find(self, name: str, version: int | None, signature: str) -> meta_graph_pb2.SignatureDef:
    """The signature of a request.

    Raises:
      StatusError: there is none of that name, version or signature.
    """
    if name != self.name or version not in (None, self.version):
      raise StatusError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {name}")
    if signature not in self.signatures:
      raise StatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"signature {signature!r} is not in the model; it has {sorted(self.signatures)}",
      )
    return self.signatures[signature]

  def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name.

    Raises:
      StatusError: inputs are missing, unknown or refused.
    """
    wanted = set(self.signatures[signature].inputs)
    if set(inputs) != wanted:
      raise StatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"input size does not match signature: sent extra {sorted(set(inputs) - wanted)}, missing"
        f" but required {sorted(wanted - set(inputs))}",
      )
    try:
      outputs = self._loaded.signatures[signature](
        **{name: tf.constant(value) for name, value in inputs.items()}
      )
    except tf.errors.OpError as error:
      raise StatusError(_CODES[error.error_code], error.message) from error
    except (TypeError, ValueError) as error:  # Shapes and types are checked in Python here.
      raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:500]) from error
    return {name: value.numpy() for name, value in outputs.items()}


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
  """Predict and GetModelMetadata."""

  def __init__(self, model: Model):
    self._model = model

  def Predict(self, request, context):  # noqa: N802 - the protocol's name
    spec = request.model_spec
    signature = spec.signature_name or "serving_default"
    version = spec.version.value if spec.HasField("version") else None
    try:
      self._model.find(spec.name, version, signature)
      inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
      outputs = self._model.run(signature, inputs)
    except StatusError as error:
      context.abort(error.code, str(error))
    response = predict_pb2.PredictResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = self._model.version
    response.model_spec.signature_name = signature
    for name in request.output_filter or outputs:
      response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
    return response

  def GetModelMetadata(self, request, context):  # noqa: N802 - the protocol's name
    if request.model_spec.name != self._model.name:
      context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
    return metadata(self._model)


def metadata(model: Model) -> get_model_metadata_pb2.GetModelMetadataResponse:
  """The model's signatures as the metadata routes return them."""
  response = get_model_metadata_pb2.GetModelMetadataResponse()
  response.model_spec.name = model.name
  response.model_spec.version.value = model.version
  signatures = get_model_metadata_pb2.SignatureDefMap()
  for name, definition in model.signatures.items():
    signatures.signature_def[name].CopyFrom(definition)
  response.metadata["signature_def"].Pack(signatures)
  return response


def _rest_predict(model: Model, body: dict) -> dict:
  """The answer to a request in the row format (`instances`) of one unnamed input."""
  signature = body.get("signature_name", "serving_default")
  (name, info), *_ = model.find(model.name, None, signature).inputs.items()
  rows = body.get("instances")
  if not isinstance(rows, list) or not rows:
    raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, "JSON has no list of instances")
  dtype = tf.as_dtype(info.dtype)
  try:
    if dtype == tf.string:
      value = np.array([base64.b64decode(row["b64"]) for row in rows], object)
    else:
      value = np.array(rows)
      if value.dtype.kind == "f":  # A number with a point is no value of an integer tensor.
        raise ValueError(f"expected {dtype.name}")
      value = value.astype(dtype.as_numpy_dtype)
  except (TypeError, KeyError, ValueError) as error:
    message = f"failed to process element of {name!r}: {error}"
    raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message) from error
  outputs = model.run(signature, {name: value})
  return {
    "predictions": [
      {key: values[i].tolist() for key, values in outputs.items()} for i in range(len(rows))
    ]
  }


def _handler(model: Model) -> type[http.server.BaseHTTPRequestHandler]:
  base = f"/v1/models/{model.name}"

  class Handler(http.server.BaseHTTPRequestHandler):
    """The predict and metadata routes."""

    def do_POST(self):
      body = self.rfile.read(int(self.headers["Content-Length"]))
      if self.path != f"{base}:predict":
        self._answer(404, {"error": f"Malformed request: POST {self.path}"})
        return
      try:
        self._answer(200, _rest_predict(model, json.loads(body)))
      except ValueError as error:
        self._answer(400, {"error": f"JSON Parse error: {error}"})
      except StatusError as error:
        self._answer(_HTTP_STATUS.get(error.code, 500), {"error": str(error)})

    def do_GET(self):
      if self.path == f"{base}/metadata":
        self._answer(200, json_format.MessageToDict(metadata(model)))
      else:
        self._answer(404, {"error": f"Malformed request: GET {self.path}"})

    def _answer(self, status: int, content: dict) -> None:
      body = json.dumps(content).encode()
      self.send_response(status)
      self.send_header("Content-Type", "application/json")
      self.send_header("Content-Length", str(len(body)))
      self.end_headers()
      self.wfile.write(body)

    def log_message(self, *arguments):
      pass

  return Handler


class Addresses(NamedTuple):
  """The addresses of the two protocols: host:port, and http://host:port."""

  grpc: str
  rest: str


@contextlib.contextmanager
def serve(
  folder: pathlib.Path, name: str, loaded: Any = None, num_threads: int = 4
) -> Iterator[Addresses]:
  """Serves a version of an export on free ports of the loopback while the block lasts.

  Args:
    folder: of the version.
    name: of the model.
    loaded: what `tf.saved_model.load` makes of the folder; by default it is loaded here.
    num_threads: that answer gRPC.

  Yields:
    Where it answers.
  """
  model = Model(folder, name, loaded)
  options = [
    (f"grpc.max_{direction}_message_length", _MAX_MESSAGE_BYTES)
    for direction in ("send", "receive")
  ]
  server = grpc.server(futures.ThreadPoolExecutor(num_threads), options=options)
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(model), server)
  port = server.add_insecure_port("127.0.0.1:0")
  server.start()
  rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(model))
  thread = threading.Thread(target=rest.serve_forever)
  thread.start()
  try:
    yield Addresses(f"127.0.0.1:{port}", f"http://127.0.0.1:{rest.server_port}")
  finally:
    rest.shutdown()
    rest.server_close()
    thread.join()
    server.stop(grace=None).wait()
