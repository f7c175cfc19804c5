"""Tests of the client, against a server of the same protocol: requests, signatures, errors."""

import http.server
import importlib.util
import json
import pathlib
import threading
import types
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


_SOUND = {
  "detection_boxes_px": [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]],
  "detection_scores": [0.75, 0.0],
  "detection_classes": [2.0, 0.0],
  "num_detections": 1.0,
}
# Changes of a sound answer about one image, and what is told of it.
_BAD_ROWS = {
  "class 0": (
    {"detection_classes": [0.0, 1.0]},
    "detection_classes: row 0 is 0.0; accepted: a who",
  ),
  "half a class": ({"detection_classes": [1.5, 1.0]}, "detection_classes: row 0 is 1.5; accepted"),
  "other label map": (
    {"detection_classes": [3.0, 1.0]},
    "detection_classes: row 0 is 3, and --label_map has 2 lines; accepted: the label map of this",
  ),
  "text": ({"detection_scores": ["0.75", 0]}, "detection_scores: row 0 is '0.75'; accepted: a fi"),
  "truth": ({"detection_scores": [True, 0]}, "detection_scores: row 0 is True; accepted: a finite"),
  "NaN": ({"detection_scores": [float("nan"), 0]}, "detection_scores: row 0 is nan; accepted"),
  "infinite box": (
    {"detection_boxes_px": [[0, 0, 1, float("inf")], []]},
    "detection_boxes_px: row 0 is inf; accepted: a finite number",
  ),
  "huge number": (
    {"detection_boxes_px": [[0, 0, 1, 10**400], []]},
    "detection_boxes_px: row 0 is 1000000",
  ),
  "three sides": (
    {"detection_boxes_px": [[0, 0, 1], []]},
    "detection_boxes_px: row 0 is [0, 0, 1]; accepted: four numbers",
  ),
  "no list": ({"detection_boxes_px": {"a": 1}}, "detection_boxes_px is {'a': 1}; accepted: a list"),
  "null": ({"detection_scores": None}, "detection_scores is None; accepted: a list"),
  "unequal lengths": (
    {"detection_scores": [0.75]},
    "2 detection_boxes_px, 1 detection_scores, 2 detection_classes, num_detections 1; accepted: eq",
  ),
  "more than there are": ({"num_detections": 3}, "2 detection_boxes_px, 2 detection_scores, 2 det"),
  "negative count": ({"num_detections": -1}, "num_detections is -1; accepted: a whole number from"),
  "no count": (
    {"num_detections": "1"},
    "num_detections is '1'; accepted: a whole number from 0 on",
  ),
  "NaN count": (
    {"num_detections": float("nan")},
    "num_detections is nan; accepted: a whole number",
  ),
}
_BAD_BODIES = {
  b"<html>\x1b[2J</html>": r"the answer is no JSON: b'<html>\x1b[2J</html>'",
  b"": "the answer is no JSON: b''",
  b"\xff\xfe": r"the answer is no JSON: b'\xff\xfe'",
  b"[" * 100_000: "the answer is no JSON: b'[[[[",
  b"[]": "the answer has no list of predictions: []",
  b"{}": "the answer has no list of predictions: {}",
  b'{"predictions": {"a": 1}}': "the answer has no list of predictions: {'predictions'",
  b'{"predictions": [1]}': "the answer has no list of predictions: {'predictions': [1]}",
  b'{"predictions": [{}]}': "the answer has no detection_boxes_px; accepted: a model that",
  b'{"predictions": []}': "the answer has 0 detection_boxes_px for 1 images",
}


class _Answers(http.server.BaseHTTPRequestHandler):
  """Gives the next of the answers in the place of a server's, whatever is asked."""

  def do_POST(self):
    self.rfile.read(int(self.headers["Content-Length"]))
    status, body, announced = self.server.answers.pop(0)
    self.send_response(status)
    self.send_header("Content-Length", str(len(body) if announced is None else announced))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *unused):
    pass


class TestUntrustedAnswers:
  @pytest.fixture(name="ask")
  def _ask(self, tmp_path, capsys):
    """Asks for `names`, one in a request; returns the exit status and the lines of both streams."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "label_map.txt").write_text("cat\ndog\n")

    def ask(*answers, names=("a.png",), missing=None):
      server.answers = [
        (200, json.dumps({"predictions": [answer]}).encode(), None)
        if isinstance(answer, dict)
        else answer
        for answer in answers
      ]
      for name in names:
        if name != missing:
          (tmp_path / name).write_bytes(PNG)
      address = f"--server=http://127.0.0.1:{server.server_port}"
      label_map = f"--label_map={tmp_path / 'label_map.txt'}"
      files = [str(tmp_path / name) for name in names]
      status = client.main([address, "--model=tiny", "--batch_size=1", label_map, *files])
      out, err = capsys.readouterr()
      return status, *(text.replace(f"{tmp_path}/", "").splitlines() for text in (out, err))

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()

  def test_sound(self, ask):
    assert ask(_SOUND) == (0, ["a.png  dog  0.750  1.0 2.0 3.0 4.0"], [])

  @pytest.mark.parametrize("kind", _BAD_ROWS)
  def test_a_bad_row_and_the_next_image(self, ask, kind):
    changed, message = _BAD_ROWS[kind]
    status, out, err = ask(_SOUND | changed, _SOUND, names=("a.png", "b.png"))
    assert status == 1
    assert out == ["b.png  dog  0.750  1.0 2.0 3.0 4.0"]
    assert len(err) == 1 and err[0].startswith(f"error: a.png: {message}")

  @pytest.mark.parametrize("body", _BAD_BODIES)
  def test_a_bad_body_and_the_next_image(self, ask, body):
    status, out, err = ask((200, body, None), _SOUND, names=("a.png", "b.png"))
    assert (status, len(out), len(err)) == (1, 1, 1)
    assert err[0].startswith(f"error: {_BAD_BODIES[body]}")
    assert len(err[0]) < 200

  @pytest.mark.parametrize("name", client.OUTPUTS)
  def test_a_missing_key(self, ask, name):
    answer = {key: value for key, value in _SOUND.items() if key != name}
    assert ask(answer)[2] == [
      f"error: the answer has no {name}; accepted: a model that export.py wrote"
    ]

  @pytest.mark.parametrize(
    ("answer", "message"),
    [
      ((500, b"<html>\n\x1b[31m", None), r"HTTP 500: <html>\n\x1b[31m"),
      ((400, b'{"error": ["a\\nb"]}', None), r"HTTP 400: ['a\nb']"),
      ((200, b"{", 100), "the answer is no JSON: b'{'"),
      ((502, b"{", 100), "HTTP 502: {"),
    ],
  )
  def test_a_broken_answer(self, ask, answer, message):
    assert ask(answer)[2] == [f"error: {message}"]

  def test_a_file_that_is_missing(self, ask):
    status, out, err = ask(_SOUND, names=("a.png", "b.png"), missing="a.png")
    assert (status, len(out)) == (1, 1)
    assert err == ["error: a.png: cannot be read (No such file or directory)"]

  def test_names_are_harmless(self, ask):
    assert ask(_SOUND, names=("a\x1b[2J\n.png",))[1] == [
      r"a\x1b[2J\n.png  dog  0.750  1.0 2.0 3.0 4.0"
    ]

  def test_a_tensor_that_is_none(self, monkeypatch, tmp_path, capsys):
    response = predict_pb2.PredictResponse()
    for name, value in _SOUND.items():
      response.outputs[name].CopyFrom(tf.make_tensor_proto([value], tf.float32))
    response.outputs["detection_scores"].tensor_content = b"123"
    service = types.SimpleNamespace(Predict=lambda request, timeout: response)
    monkeypatch.setattr(
      client.prediction_service_pb2_grpc, "PredictionServiceStub", lambda channel: service
    )
    (tmp_path / "a.png").write_bytes(PNG)
    assert client.main(["--server=x:1", "--model=tiny", str(tmp_path / "a.png")]) == 1
    assert capsys.readouterr().err.startswith("error: the answer's detection_scores is no tensor (")
    response.outputs["detection_scores"].CopyFrom(tf.make_tensor_proto([[b"a", b"b"]]))
    assert client.main(["--server=x:1", "--model=tiny", str(tmp_path / "a.png")]) == 1
    message = "a.png: detection_scores: row 0 is b'a'; accepted: a finite number\n"
    assert capsys.readouterr().err.endswith(message)


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
