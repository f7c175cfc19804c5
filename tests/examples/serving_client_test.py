"""Tests of the client, against a server of the same protocol: requests, signatures, errors."""

import importlib.util
import json
import pathlib
import urllib.request
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image
from tensorflow_serving.apis import (
  get_model_metadata_pb2,
  predict_pb2,
  prediction_service_pb2_grpc,
)

from tests.data import voc_files
from tests.serving import contract_server, tiny_run

_FILE = pathlib.Path(__file__).parents[2] / "examples" / "serving_client.py"
_spec = importlib.util.spec_from_file_location("serving_client", _FILE)
client = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client)


@pytest.fixture(name="server", scope="module")
def _server(tiny_export, tiny_loaded):
  with contract_server.serve(tiny_export[0], "tiny", tiny_loaded) as addresses:
    yield addresses


@pytest.fixture(name="stub", scope="module")
def _stub(server):
  with grpc.insecure_channel(server.grpc) as channel:
    yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory):
  folder = tmp_path_factory.mktemp("images")
  for i, image in enumerate(tiny_run.images()):
    Image.fromarray(image).save(folder / f"{i}.png")
  return [str(folder / f"{i}.png") for i in range(len(tiny_run.images()))]


@pytest.fixture(name="expected", scope="module")
def _expected(tiny_loaded):
  """The detections of the export without a server."""
  function = tiny_loaded.signatures["serving_default"]
  return [
    {name: value.numpy()[0] for name, value in function(tf.constant(image[None])).items()}
    for image in tiny_run.images()
  ]


def predict(stub, signature, value, name="images", model="tiny"):
  request = predict_pb2.PredictRequest()
  request.model_spec.name = model
  request.model_spec.signature_name = signature
  if name:
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
  return stub.Predict(request, timeout=60)


class TestClient:
  @pytest.mark.parametrize("protocol", ["grpc", "rest"])
  @pytest.mark.parametrize("signature", tiny_run.SIGNATURES)
  def test_every_signature(self, server, files, expected, tiny_export, capsys, protocol, signature):
    arguments = [f"--server={getattr(server, protocol)}", "--model=tiny", "--json"]
    arguments += [f"--signature={signature}", "--score_threshold=0.1"]
    label_map = tiny_export[0] / "assets" / "label_map.txt"
    # Images of one size in a request, which is what `serving_default` wants.
    batch_size = 1 if signature == "serving_default" else 2
    arguments += [f"--label_map={label_map}", f"--batch_size={batch_size}"]
    assert client.main([*arguments, *files]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == files
    for line, outputs in zip(lines, expected, strict=True):
      found, shown = line["detections"], outputs["detection_scores"] >= 0.1
      assert len(found) == np.count_nonzero(shown) > 0
      np.testing.assert_allclose(
        [entry["box"] for entry in found], outputs["detection_boxes_px"][shown], atol=2e-3
      )
      names = [tiny_run.CLASS_NAMES[int(i) - 1] for i in outputs["detection_classes"][shown]]
      assert [entry["class"] for entry in found] == names

  def test_lines_for_people(self, server, files, expected, capsys):
    arguments = [f"--server={server.grpc}", "--model=tiny", "--score_threshold=0.1", files[0]]
    assert client.main(arguments) == 0
    ymin, xmin, ymax, xmax = expected[0]["detection_boxes_px"][0]
    class_id, score = (expected[0][f"detection_{name}"][0] for name in ("classes", "scores"))
    assert capsys.readouterr().out.splitlines()[0] == (
      f"{files[0]}  {class_id:.0f}  {score:.3f}  {ymin:.1f} {xmin:.1f} {ymax:.1f} {xmax:.1f}"
    )

  @pytest.mark.parametrize(
    ("protocol", "code"), [("grpc", "INVALID_ARGUMENT: "), ("rest", "HTTP 400: ")]
  )
  def test_a_refusal_is_one_line(self, server, tmp_path, capsys, protocol, code):
    file = tmp_path / "notes.txt"
    file.write_text("no image")
    arguments = [f"--server={getattr(server, protocol)}", "--model=tiny", str(file)]
    assert client.main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {code}")
    assert "encoded_images[0]: bytes that do not begin like an image; accepted: a whole" in printed

  def test_arrays_of_several_sizes(self, server, files, capsys):
    arguments = [f"--server={server.grpc}", "--model=tiny", "--signature=serving_default", *files]
    assert client.main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(
      "error: images of several sizes in one request to serving_default; acc"
    )

  @pytest.mark.parametrize(
    ("server_name", "message"),
    [("127.0.0.1:1", "error: UNAVAILABLE"), ("http://127.0.0.1:1", "error: no answer: ")],
  )
  def test_no_server(self, files, capsys, server_name, message):
    assert client.main([f"--server={server_name}", "--model=tiny", files[0]]) == 1
    assert capsys.readouterr().err.startswith(message)

  @pytest.mark.parametrize(("protocol", "code"), [("grpc", "NOT_FOUND"), ("rest", "HTTP 404")])
  def test_another_model(self, server, files, capsys, protocol, code):
    arguments = [f"--server={getattr(server, protocol)}", "--model=huge", files[0]]
    assert client.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {code}: ")


class TestMetadata:
  def test_both_protocols_name_the_signatures(self, server, stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    response = stub.GetModelMetadata(request)
    with urllib.request.urlopen(f"{server.rest}/v1/models/tiny/metadata") as answer:
      parsed = json_format.ParseDict(
        json.load(answer), get_model_metadata_pb2.GetModelMetadataResponse()
      )
    for message in (response, parsed):
      signatures = get_model_metadata_pb2.SignatureDefMap()
      assert message.metadata["signature_def"].Unpack(signatures)
      assert set(signatures.signature_def) == set(tiny_run.SIGNATURES)
      inputs = signatures.signature_def["serving_default"].inputs
      assert inputs["images"].dtype == tf.uint8.as_datatype_enum
      for definition in signatures.signature_def.values():
        assert definition.method_name == "tensorflow/serving/predict"
        assert set(definition.outputs) == set(tiny_run.OUTPUTS)


PNG = voc_files.image_bytes(voc_files.picture(20, 30), "PNG")
BOMB = PNG[:16] + b"\0\0\x4e\x20" * 2 + PNG[24:]  # 20000 x 20000.
NO_ROWS = PNG[:16] + b"\0\0\0\0" + PNG[20:]
IMAGES, ENCODED = "images", "encoded_images"
BAD = {
  "empty batch": ("serving_bytes", ENCODED, np.zeros([0], object), "at least one image"),
  "empty batch of arrays": (
    "serving_default",
    IMAGES,
    np.zeros([0, 8, 8, 3], np.uint8),
    "each side",
  ),
  "not an image": ("serving_bytes", ENCODED, [b"text"], "do not begin like an image"),
  "truncated": ("serving_bytes", ENCODED, [PNG[:-20]], "a PNG that is cut short"),
  "0 x 0": ("serving_default", IMAGES, np.zeros([1, 0, 0, 3], np.uint8), "each side at least 1"),
  "0 rows": ("serving_bytes", ENCODED, [NO_ROWS], "accepted: sides of at least 1"),
  "bomb": ("serving_bytes", ENCODED, [PNG, BOMB], r"encoded_images\[1\]: 20000 x 20000 pixels"),
  "wrong type": ("serving_default", IMAGES, np.zeros([1, 8, 8, 3], np.int32), "int32|uint8"),
  "NaN": ("serving_default", IMAGES, np.full([1, 8, 8, 3], np.nan, np.float32), "float"),
  "wrong rank": ("serving_default", IMAGES, np.zeros([8, 8, 3], np.uint8), "[Ss]hape|rank"),
  "grey": ("serving_default", IMAGES, np.zeros([1, 8, 8, 1], np.uint8), "[Ss]hape"),
  "missing input": ("serving_bytes", None, None, "missing but required.*encoded_images"),
  "other input": ("serving_bytes", "photo", [PNG], "extra .*photo"),
  "no such signature": ("serving_video", IMAGES, [PNG], "signature"),
  "no example": (
    "serving_tf_example",
    "tf_examples",
    [PNG],
    r"tf_examples\[0\]: bytes that are no",
  ),
}


class TestBadRequests:
  @pytest.mark.parametrize("kind", BAD)
  def test_refused_and_the_next_is_served(self, stub, kind):
    signature, name, value, message = BAD[kind]
    with pytest.raises(grpc.RpcError, match=message) as caught:
      predict(stub, signature, value, name)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) < 2000
    assert predict(stub, "serving_bytes", [PNG], ENCODED).outputs["num_detections"]

  def test_unusual_images_are_served(self, stub):
    picture = voc_files.picture(20, 30)
    contents = [
      voc_files.image_bytes(voc_files.picture(1, 1), "PNG"),
      voc_files.image_bytes(picture.convert("CMYK"), "JPEG"),
      voc_files.image_bytes(picture.convert("RGBA"), "PNG"),
      voc_files.image_bytes(Image.fromarray(np.full([9, 9], 40_000, np.uint16)), "PNG"),
    ]
    boxes = tf.make_ndarray(
      predict(stub, "serving_bytes", contents, ENCODED).outputs["detection_boxes"]
    )
    assert boxes.shape == (4, 40, 4) and np.isfinite(boxes).all()

  @pytest.mark.parametrize(
    "body", [b"{", b"{}", b'{"instances": []}', b'{"instances": [[[[1.5]]]]}']
  )
  def test_rest(self, server, body):
    request = urllib.request.Request(f"{server.rest}/v1/models/tiny:predict", body)
    with pytest.raises(urllib.error.HTTPError) as caught:
      urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert json.load(caught.value)["error"]

  @pytest.mark.slow
  def test_a_thousand_at_once(self, stub):
    sound = predict(stub, "serving_bytes", [PNG], ENCODED).outputs["detection_scores"]
    contents = [PNG, b"text", BOMB, PNG]

    def call(i):
      try:
        return predict(stub, "serving_bytes", [contents[i % 4]], ENCODED).outputs[
          "detection_scores"
        ]
      except grpc.RpcError as error:
        return error.code()

    with futures.ThreadPoolExecutor(1000) as pool:
      results = list(pool.map(call, range(1000)))
    for i, result in enumerate(results):
      assert result == (grpc.StatusCode.INVALID_ARGUMENT if i % 4 in (1, 2) else sound), i
