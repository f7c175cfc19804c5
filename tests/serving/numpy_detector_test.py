"""Tests of numpy_detector.py, with a detector made up here, and of `load`, with a tiny one."""

import io
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mtl_ssl_tf
from mtl_ssl_tf.serving import drawable, image_inputs, numpy_detector
from mtl_ssl_tf.visualization import draw
from tests import fixtures
from tests.data import voc_files
from tests.serving import tiny_run as tiny_run_lib


class CornerDetector:
  """Says that a `cat` covers each image and, less certain, a `dog` its top left pixel.

  The cat's score is the first pixel's red value in percent. Notes the shapes that it is given.
  """

  class_names = ("cat", "dog")
  score_thresholds = None

  def __init__(self):
    self.shapes = []

  def detect_encoded(self, contents):
    images = [tf.io.decode_image(content, channels=3).numpy() for content in contents]
    if any(image.shape[0] == 13 for image in images):
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory\nmuch detail")
    outputs = [CornerDetector()(image[np.newaxis]) for image in images]
    self.shapes.append([image.shape for image in images])
    return {name: np.concatenate([of[name] for of in outputs]) for name in outputs[0]}

  def __call__(self, images):
    self.shapes.append(images.shape)
    batch_size, height, width, _ = images.shape
    if height == 13:
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory\nmuch detail")
    boxes = [[0, 0, height, width], [0, 0, 1, 1], [0, 0, 0, 0]]
    scores = np.zeros([batch_size, 3], np.float32)
    scores[:, 0] = images[:, 0, 0, 0] / np.float32(100.0)
    scores[:, 1] = 0.125
    return {
      "detection_boxes_px": np.tile(np.float32(boxes), [batch_size, 1, 1]),
      "detection_scores": scores,
      "detection_classes": np.tile(np.float32([1, 2, 0]), [batch_size, 1]),
      "num_detections": np.full([batch_size], 2.0, np.float32),
    }


@pytest.fixture(name="raw")
def _raw():
  return CornerDetector()


@pytest.fixture(name="detect")
def _detect(raw):
  return numpy_detector.NumpyDetector(raw)


class TestResults:
  def test_one_image(self, detect):
    found = detect(fixtures.solid_image(4, 6, 75))
    assert found.keys() == {"boxes_px", "scores", "class_ids", "class_names"}
    np.testing.assert_array_equal(found["boxes_px"], [[0, 0, 4, 6], [0, 0, 1, 1]])
    np.testing.assert_array_equal(found["scores"], [0.75, 0.125])
    np.testing.assert_array_equal(found["class_ids"], [1, 2])
    assert found["class_ids"].dtype == np.int32
    assert found["class_names"] == ["cat", "dog"]

  def test_what_scores_less_is_left_out(self, detect):
    image = fixtures.solid_image(4, 6, 75)
    assert detect(image, score_threshold=0.5)["class_names"] == ["cat"]
    assert detect(image, score_threshold=0.125)["class_names"] == ["cat", "dog"]
    found = detect(image, score_threshold=0.9)
    assert found["boxes_px"].shape == (0, 4)
    assert found["class_names"] == []
    certain = fixtures.solid_image(4, 6, 100)
    assert detect(certain, score_threshold=1.0)["class_names"] == ["cat"]

  def test_thresholds_of_the_export_unless_another_is_given(self, raw):
    image = fixtures.solid_image(4, 6, 75)
    assert numpy_detector.NumpyDetector(raw).score_thresholds is None
    raw.score_thresholds = {"dog": 0.125, "cat": 0.8}
    detect = numpy_detector.NumpyDetector(raw)
    assert detect.score_thresholds == {"dog": 0.125, "cat": 0.8}
    assert detect(image)["class_names"] == ["dog"]
    np.testing.assert_array_equal(detect([image])[0]["boxes_px"], [[0, 0, 1, 1]])
    assert detect(image, score_threshold=0.5)["class_names"] == ["cat"]
    assert detect(image, score_threshold=0.0)["class_names"] == ["cat", "dog"]

  def test_a_list_of_different_sizes_keeps_its_order(self, detect, raw):
    # The last has the height of some and the width of another.
    sizes = [(4, 6), (1, 1), (4, 6), (6, 4), (4, 6), (4, 4)]
    images = [fixtures.solid_image(*size, 10 * i) for i, size in enumerate(sizes, start=1)]
    found = detect(images, batch_size=2)
    assert raw.shapes == [(2, 4, 6, 3), (1, 4, 6, 3), (1, 1, 1, 3), (1, 6, 4, 3), (1, 4, 4, 3)]
    for i, (size, result) in enumerate(zip(sizes, found, strict=True), start=1):
      np.testing.assert_array_equal(result["boxes_px"][0], [0, 0, *size])
      assert result["scores"][0] == np.float32(0.1 * i)

  def test_eight_go_together_unless_another_number_is_given(self, detect, raw):
    assert len(detect([fixtures.solid_image(4, 6, 75)] * 9)) == 9
    assert raw.shapes == [(8, 4, 6, 3), (1, 4, 6, 3)]

  def test_a_tuple_is_a_list(self, detect):
    images = tuple(fixtures.solid_image(4, 6, value) for value in (10, 20))
    assert [round(float(of["scores"][0]), 2) for of in detect(images)] == [0.1, 0.2]

  def test_a_batch(self, detect, raw):
    batch = np.stack([fixtures.solid_image(4, 6, value) for value in (10, 20, 30)])
    found = detect(batch)
    assert [result["scores"][0] for result in found] == list(np.float32([0.1, 0.2, 0.3]))
    assert raw.shapes == [(3, 4, 6, 3)]

  def test_none(self, detect, raw):
    assert detect([]) == detect(np.zeros([0, 4, 6, 3], np.uint8)) == []
    assert raw.shapes == []

  @pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
  def test_grey(self, detect, raw, shape):
    image = np.full(shape, 30, np.uint8)
    assert detect(image)["scores"][0] == np.float32(0.3)
    assert detect([image])[0]["scores"][0] == np.float32(0.3)
    assert raw.shapes == [(1, 4, 6, 3)] * 2


class TestKindsOfImages:
  """Each of 4 × 6 pixels; the first one tells the image."""

  @pytest.fixture(name="save")
  def _save(self, tmp_path):
    def save(name, value, size=(4, 6), **options):
      Image.fromarray(fixtures.solid_image(*size, value)).save(tmp_path / name, **options)
      return tmp_path / name

    return save

  @pytest.mark.parametrize("convert", [str, pathlib.Path])
  def test_a_path(self, detect, save, convert):
    found = detect(convert(save("a.png", 75)))
    np.testing.assert_array_equal(found["boxes_px"], [[0, 0, 4, 6], [0, 0, 1, 1]])
    assert found["scores"][0] == np.float32(0.75)

  @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
  def test_a_pillow_image(self, detect, mode):
    image = Image.fromarray(fixtures.solid_image(4, 6, 75)).convert(mode)
    assert detect(image)["scores"][0] == np.float32(0.75)

  def test_transparency_is_white_and_exif_turns(self, detect, save, raw):
    clear = Image.new("RGBA", (6, 4), (0, 0, 0, 0))
    assert detect(clear)["scores"][0] == np.float32(2.55)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save("a.jpg", 75, exif=exif)
    for image in (path, Image.open(path)):
      np.testing.assert_array_equal(detect(image)["boxes_px"][0], [0, 0, 6, 4])

  def test_a_list_of_all_kinds_keeps_its_order(self, detect, save, raw):
    images = [
      str(save("a.png", 10)),
      fixtures.solid_image(4, 6, 20),
      Image.fromarray(fixtures.solid_image(4, 6, 30)),
      save("b.png", 40, (2, 3)),
      fixtures.solid_image(4, 6, 50)[..., 0],
      save("c.png", 60),
    ]
    found = detect(images, batch_size=2)
    assert [round(float(of["scores"][0]), 2) for of in found] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert raw.shapes == [[(4, 6, 3), (2, 3, 3)], [(4, 6, 3)], (2, 4, 6, 3), (1, 4, 6, 3)]

  def test_files_are_read_as_their_turn_comes(self, detect, save, raw, tmp_path):
    paths = [save("a.png", 10), save("b.png", 20), tmp_path / "missing.png"]
    with pytest.raises(ValueError, match=r"^image 2 '.*missing\.png' cannot be read"):
      detect(paths, batch_size=2)
    assert raw.shapes == [[(4, 6, 3)] * 2]


class TestDrawing:
  def test_the_image_with_its_boxes(self, detect):
    image = fixtures.solid_image(60, 80, 75)
    found = detect(image)
    picture = found.draw()
    assert isinstance(picture, Image.Image) and picture.size == (80, 60)
    expected = draw.draw_boxes(
      image, found["boxes_px"], found["class_ids"], ["cat", "dog"], found["scores"]
    )
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert (image == 75).all()

  def test_what_scores_less_is_not_drawn(self, detect):
    found = detect(fixtures.solid_image(60, 80, 75))
    pixels = np.asarray(found.draw(score_threshold=0.9))
    assert (pixels == 75).all()

  def test_each_of_many_is_drawn_on_its_own_image(self, detect):
    sizes = [(50, 60), (40, 90), (50, 60), (40, 90), (50, 60)]
    images = [fixtures.solid_image(*size, 10 * i) for i, size in enumerate(sizes, start=1)]
    for i, found in enumerate(detect(images, batch_size=2), start=1):
      pixels = np.asarray(found.draw(score_threshold=0.9))
      np.testing.assert_array_equal(pixels, images[i - 1])

  def test_a_file_is_read_again(self, detect, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(fixtures.solid_image(60, 80, 75)).save(path)
    found = detect(path)
    assert found.draw().size == (80, 60)
    path.unlink()
    with pytest.raises(ValueError, match=r"^the image '.*a\.png' cannot be read"):
      found.draw()


class TestText:
  def test_a_line_for_each_detection(self, detect):
    assert repr(detect(fixtures.solid_image(4, 6, 75))) == (
      "2 detections\n"
      "  cat  0.75  ymin 0, xmin 0, ymax 4, xmax 6\n"
      "  dog  0.12  ymin 0, xmin 0, ymax 1, xmax 1"
    )

  def test_of_a_file(self, detect, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(fixtures.solid_image(4, 6, 75)).save(path)
    assert repr(detect(path, score_threshold=0.5)) == (
      f"1 detection in {path}\n  cat  0.75  ymin 0, xmin 0, ymax 4, xmax 6"
    )
    assert repr(detect(path, score_threshold=0.9)) == f"0 detections in {path}"

  def test_scores_stand_in_a_column(self):
    entries = {
      "boxes_px": np.zeros([2, 4], np.float32),
      "scores": np.float32([0.75, 0.5]),
      "class_ids": np.int32([1, 2]),
      "class_names": ["ox", "giraffe"],
    }
    found = drawable.Detections(entries, image_inputs.ImageInput("x"), ["ox", "giraffe"])
    _, first, second = repr(found).splitlines()
    assert first.startswith("  ox       0.75  ymin")
    assert second.startswith("  giraffe  0.50  ymin")

  def test_it_is_of_bounded_length(self):
    entries = {
      "boxes_px": np.zeros([25, 4], np.float32),
      "scores": np.ones([25], np.float32),
      "class_ids": np.ones([25], np.int32),
      "class_names": [*["cat"] * 20, *["hippopotamus"] * 5],
    }
    lines = repr(drawable.Detections(entries, image_inputs.ImageInput("x"), ["cat"])).splitlines()
    assert len(lines) == 22
    assert lines[1].startswith("  cat  1.00  ymin")  # No wider than the names that are shown.
    assert lines[-1] == "  and 5 more"


_ACCEPTED = f"accepted: {image_inputs.ACCEPTED}"


class TestFaults:
  @pytest.mark.parametrize(
    ("image", "message"),
    [
      (
        np.zeros([4, 6, 3], np.float32),
        f"is float32; {_ACCEPTED}; of values 0 … 1, (255 * image).round().astype(np.uint8) makes"
        " that",
      ),
      (np.zeros([4, 6, 3], np.int64), f"is int64; {_ACCEPTED}"),
      (
        np.zeros([4, 6, 4], np.uint8),
        f"has the shape [4, 6, 4]; {_ACCEPTED}; image[..., :3] leaves out transparency",
      ),
      (np.zeros([6], np.uint8), f"has the shape [6]; {_ACCEPTED}"),
      (np.zeros([2, 4, 6, 3, 1], np.uint8), f"has the shape [2, 4, 6, 3, 1]; {_ACCEPTED}"),
      (np.zeros([0, 6, 3], np.uint8), "has the shape [0, 6, 3]; accepted: sides of at least 1"),
    ],
  )
  def test_images(self, detect, raw, image, message):
    for images, where in ((image, "the image"), ([fixtures.solid_image(4, 6), image], "image 1")):
      with pytest.raises(ValueError, match=f"^{re.escape(f'{where} {message}')}$"):
        detect(images)
    assert raw.shapes == []

  @pytest.mark.parametrize(
    ("images", "message"),
    [
      (b"a.jpg", f"the image is a bytes; {_ACCEPTED}"),
      ([5], f"image 0 is a int; {_ACCEPTED}"),
      (
        "/nowhere/a.jpg",
        "the image '/nowhere/a.jpg' cannot be read (No such file or directory);",
      ),
      (["/"], "image 0 '/' is a folder; accepted: image files (mtl-ssl predict takes folders)"),
      (__file__, f"{__file__}: image: the file does not begin like one; accepted: a whole JPEG"),
      (Image.new("F", (6, 4)), "the image has the mode 'F'; accepted: 8 or 16 bits a channel"),
      ([Image.new("I", (6, 4))], "image 0 has the mode 'I'; accepted: 8 or 16 bits a channel"),
      ([Image.new("RGB", (0, 4))], "image 0 has the size (0, 4); accepted: sides of at least 1"),
      (np.zeros([2, 4, 6, 2], np.uint8), f"image 0 has the shape [4, 6, 2]; {_ACCEPTED}"),
    ],
  )
  def test_no_images(self, detect, images, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
      detect(images)

  @pytest.mark.parametrize(
    ("options", "message"),
    [
      ({"score_threshold": 1.5}, "score_threshold is 1.5; accepted: 0 to 1"),
      ({"score_threshold": -0.1}, "score_threshold is -0.1; accepted: 0 to 1"),
      ({"score_threshold": float("nan")}, "score_threshold is nan; accepted: 0 to 1"),
      ({"batch_size": 0}, "batch_size is 0; accepted: at least 1"),
      ({"batch_size": -1}, "batch_size is -1; accepted: at least 1"),
    ],
  )
  def test_options(self, detect, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
      detect(fixtures.solid_image(4, 6), **options)

  def test_detection_fails(self, detect):
    message = r"^detection failed in 2 of 13 x 6 pixels \(out of memory\)$"
    with pytest.raises(RuntimeError, match=message):
      detect([fixtures.solid_image(13, 6)] * 2)

  def test_detection_fails_in_files(self, detect, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
      Image.fromarray(fixtures.solid_image(13, 6)).save(path)
    with pytest.raises(RuntimeError) as caught:
      detect(paths)
    assert str(caught.value) == f"detection failed in {paths[0]}, {paths[1]} (out of memory)"

  def test_a_pillow_image_that_is_cut_short(self, detect):
    content = voc_files.image_bytes(voc_files.picture(200, 300))
    with Image.open(io.BytesIO(content[: len(content) // 2])) as image:
      for images, where in ((image, "the image"), ([image], "image 0")):
        with pytest.raises(ValueError, match=rf"^{where} cannot be read \(.+\); accepted: a whole"):
          detect(images)


@pytest.fixture(name="of_a_run", scope="module")
def _of_a_run(tiny_run):
  return mtl_ssl_tf.load(tiny_run)


@pytest.fixture(name="of_an_export", scope="module")
def _of_an_export(tiny_export):
  return mtl_ssl_tf.load(tiny_export[0])


class TestLoad:
  def test_files_and_arrays_of_an_export(self, of_an_export, tmp_path):
    paths, images = [], tiny_run_lib.images()
    for number, image in enumerate(images):
      paths.append(tmp_path / f"{number}.png")
      Image.fromarray(image).save(paths[-1])
    for of_file, of_array in zip(of_an_export(paths), of_an_export(images), strict=True):
      np.testing.assert_allclose(of_file["scores"], of_array["scores"], atol=1e-5)
      np.testing.assert_allclose(of_file["boxes_px"], of_array["boxes_px"], atol=1e-2)
    with Image.open(paths[0]) as opened:
      np.testing.assert_array_equal(
        of_an_export(opened)["scores"], of_an_export(images[0])["scores"]
      )

  @pytest.mark.parametrize("source", ["of_an_export", "of_a_run"])
  def test_an_export_or_a_run(self, request, source, tiny_loaded):
    detector = request.getfixturevalue(source)
    assert detector.class_names == tiny_run_lib.CLASS_NAMES
    images = tiny_run_lib.images()
    raw = tiny_loaded.signatures["serving_default"]
    for image, found in zip(images, detector(images), strict=True):
      expected = raw(images=tf.constant(image[np.newaxis]))
      count = int(expected["num_detections"][0])
      assert len(found["scores"]) == count > 0
      np.testing.assert_allclose(
        found["boxes_px"], expected["detection_boxes_px"][0, :count], atol=1e-3
      )

  def test_another_checkpoint(self, tiny_run, of_a_run):
    image = tiny_run_lib.images()[0]
    latest = mtl_ssl_tf.load(tiny_run, str(tiny_run / "ckpt-10"))
    best_scores, latest_scores = (detect(image)["scores"][:3] for detect in (of_a_run, latest))
    assert not np.allclose(best_scores, latest_scores)

  def test_neither(self, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
      with pytest.raises(ValueError, match=r"holds no detector; accepted: .* \(params.yaml\)$"):
        mtl_ssl_tf.load(path)

  def test_a_checkpoint_of_an_export(self, tiny_export):
    with pytest.raises(
      ValueError, match=r"^checkpoint is 'best'; accepted: None, as .* is an export$"
    ):
      mtl_ssl_tf.load(tiny_export[0], "best")


def test_importing_the_package_loads_no_tensorflow():
  code = "import mtl_ssl_tf\nassert callable(mtl_ssl_tf.load)\n"
  done = tiny_run_lib.run_python(code, without=("tensorflow", "numpy", "PIL"))
  assert done.returncode == 0, done.stderr


def test_an_export_needs_no_training_code(tiny_export):
  code = "import sys, mtl_ssl_tf\nprint(*mtl_ssl_tf.load(sys.argv[1]).class_names)\n"
  done = tiny_run_lib.run_python(
    code, [str(tiny_export[0])], without=("tf_keras", "official", "orbit")
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == tiny_run_lib.CLASS_NAMES
