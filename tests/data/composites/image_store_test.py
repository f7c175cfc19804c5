"""Images that are kept ready: what becomes of each kind, what is left out, and reuse."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, JpegImagePlugin

from mtl_ssl_tf.data import faults, progress_lines, schema
from mtl_ssl_tf.data.composites import image_store
from tests import fixtures

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
ROTATE_90_CLOCKWISE = 6  # EXIF's orientation of a camera held upright.


def quarters() -> np.ndarray:
  """uint8 [40, 60, 3]: red and green above blue and white."""
  image = np.full([40, 60, 3], 255, np.uint8)
  image[:20, :30], image[:20, 30:], image[20:, :30] = RED, GREEN, BLUE
  return image


def save(path, image: Image.Image | np.ndarray, **options) -> None:
  os.makedirs(path.parent, exist_ok=True)
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  image.save(path, **options)


def ready(tmp_path, short_side=0, **source) -> list[str]:
  settings = {"image_dir": "", "input_path": "", "store_dir": str(tmp_path / "store")}
  return image_store.ready_files(**{**settings, **source}, short_side=short_side)


def read(files) -> dict[str, np.ndarray]:
  """The images by name, in order."""
  found = {}
  for content in tf.data.TFRecordDataset(files).as_numpy_iterator():
    feature = tf.train.Example.FromString(content).features.feature
    image = tf.io.decode_image(feature[schema.IMAGE_ENCODED].bytes_list.value[0], channels=3)
    name = feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0].decode()
    sides = [feature[key].int64_list.value[0] for key in (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)]
    assert image.shape[:2] == tuple(sides)
    found[name] = image.numpy()
  return found


@pytest.fixture
def messages(capsys):
  """The lines of a command so far."""
  told = []

  def lines() -> list[str]:
    told.extend(capsys.readouterr().err.splitlines())
    return told

  return lines


def test_images_of_all_kinds_become_upright_rgb(tmp_path):
  images = tmp_path / "images"
  picture = Image.fromarray(quarters())
  save(images / "plain.png", picture)
  exif = Image.Exif()
  exif[0x0112] = ROTATE_90_CLOCKWISE
  save(images / "turned.jpg", picture, exif=exif, quality=95, subsampling=0)
  save(images / "deep" / "er" / "palette.gif", picture.quantize(8))
  clear = picture.convert("RGBA")
  half = np.where(np.arange(60) < 30, 255, 0).astype(np.uint8)
  clear.putalpha(Image.fromarray(np.tile(half, [40, 1])))
  save(images / "clear.png", clear)
  save(images / "ink.jpg", picture.convert("CMYK"), quality=95)
  sixteen = (np.arange(40 * 60).reshape(40, 60) * 27).astype(np.uint16)
  save(images / "sixteen.png", Image.fromarray(sixteen))
  save(images / "tagged.tiff", picture.convert("L"))

  found = read(ready(tmp_path, image_dir=str(images)))

  assert list(found) == [
    "clear.png", "ink.jpg", "plain.png", "sixteen.png", "tagged.tiff", "turned.jpg",
    "deep/er/palette.gif",
  ]  # fmt: skip
  np.testing.assert_array_equal(found["plain.png"], quarters())
  np.testing.assert_array_equal(found["deep/er/palette.gif"][5, 5], RED)
  np.testing.assert_array_equal(found["clear.png"][5, [5, 50]], [RED, (255, 255, 255)])
  np.testing.assert_array_equal(found["sixteen.png"][..., 1], sixteen >> 8)
  # Turned clockwise, blue comes to lie above, to the left of red.
  assert found["turned.jpg"].shape == (60, 40, 3)
  np.testing.assert_allclose(found["turned.jpg"][5, [5, 35]], [BLUE, RED], atol=12)
  assert found["tagged.tiff"].shape == (40, 60, 3) and np.ptp(found["tagged.tiff"][5, 5]) == 0
  assert found["ink.jpg"].shape == (40, 60, 3)


def test_a_picture_in_a_folder_keeps_its_path_as_its_id_alone(tmp_path, messages):
  save(tmp_path / "images" / "deep" / "a.png", fixtures.noise_image(20, 20))
  (file,) = ready(tmp_path, image_dir=str(tmp_path / "images"))
  (content,) = tf.data.TFRecordDataset(file).as_numpy_iterator()
  feature = tf.train.Example.FromString(content).features.feature
  names = [
    feature[key].bytes_list.value[0] for key in (schema.IMAGE_FILENAME, schema.IMAGE_SOURCE_ID)
  ]
  assert names == [b"a.png", b"deep/a.png"]
  kept = f"{tmp_path / 'images'}: images are kept ready in {os.path.dirname(file)}"
  assert messages()[-1] == kept


def test_broken_images_are_named_and_left_out(tmp_path, messages):
  images = tmp_path / "images"
  for name in ("a.png", "c.png"):
    save(images / name, fixtures.noise_image(20, 20))
  content = io.BytesIO()
  Image.fromarray(fixtures.noise_image(64, 64)).save(content, "JPEG")
  (images / "b.jpg").write_bytes(content.getvalue()[:600])
  (images / "empty.png").write_bytes(b"")
  (images / "text.jpg").write_text("not an image")
  (images / "gone.png").symlink_to(images / "nowhere.png")
  (images / "notes.txt").write_text("passed over")
  (images / ".hidden.png").write_bytes(b"passed over, too")
  (images / ".folder").mkdir()
  (images / ".folder" / "d.png").write_bytes(b"the same")

  files = ready(tmp_path, image_dir=str(images))

  assert list(read(files)) == ["a.png", "c.png"]
  told = messages()
  for name in ("b.jpg", "empty.png", "text.jpg"):
    assert sum(line.startswith(f"warning: left out: {name}: image: ") for line in told) == 1
  assert any(line.startswith("warning: left out: gone.png: file: cannot be read") for line in told)
  assert f"{images}: files passed over: 1 .txt" in told
  assert f"{images}: images read: 2, left out: 4" in told
  kept = image_store.read_faults(os.path.dirname(files[0]))
  assert [fault.file for fault in kept] == ["b.jpg", "empty.png", "gone.png", "text.jpg"]
  assert isinstance(kept[0], faults.Fault)


def test_a_second_start_reads_no_image(tmp_path, monkeypatch, messages):
  images = tmp_path / "images"
  save(images / "a.png", fixtures.noise_image(20, 20))
  (images / "b.png").write_bytes(b"broken")
  first = ready(tmp_path, image_dir=str(images))
  with monkeypatch.context() as patch:
    patch.setattr(image_store, "ready_image", None)
    assert ready(tmp_path, image_dir=str(images)) == first
  folder = os.path.dirname(first[0])
  told = list(messages())
  assert told[-1] == f"warning: {images}: images left out: 1, listed in {folder}"
  # Once is enough for a run.
  assert ready(tmp_path, image_dir=str(images)) == first
  assert messages() == told


_FAULT = {"file": "a", "field": "b", "value": "c", "accepted": "d", "object_name": None}


@pytest.mark.parametrize(
  ("content", "problem"),
  [
    (None, ": cannot be read (a pipe and no regular file)"),
    (b"{", ": no JSON (Expecting property name enclosed in double quotes"),
    (b"[" * 100_000, ": no JSON (objects and lists in each other; at most 32 levels)"),
    (b"[]", " is []; accepted: an object"),
    (b'{"num_images": "1\\n"}', r": num_images is '1\n'; accepted: a whole number of 64 bits"),
    (b'{"num_images": 1}', ": faults is missing; accepted: a list"),
    (
      json.dumps({"num_images": 1, "faults": [{**_FAULT, "object_number": "x"}]}).encode(),
      ": faults: entry 1: object_number is 'x'; accepted: a whole number of 64 bits or null",
    ),
  ],
)
def test_a_summary_that_cannot_be_read(tmp_path, content, problem):
  images = tmp_path / "images"
  save(images / "a.png", fixtures.noise_image(20, 20))
  folder = os.path.dirname(ready(tmp_path, image_dir=str(images))[0])
  path = os.path.join(folder, "summary.json")
  os.remove(path)
  if content is None:
    os.mkfifo(path)
  else:
    with open(path, "wb") as file:
      file.write(content)
  for read_it in (
    lambda: ready(tmp_path, image_dir=str(images)),
    lambda: image_store.read_faults(folder),
  ):
    with pytest.raises(ValueError) as caught:
      read_it()
    assert str(caught.value).startswith(f"{path}{problem}")
    assert str(caught.value).endswith(f"; delete {folder}, and the images are made ready again")


@pytest.mark.parametrize("damage", ["deleted", "cut", "pipe"])
def test_records_that_are_not_as_they_were_left(tmp_path, monkeypatch, damage):
  monkeypatch.setattr(image_store, "_IMAGES_PER_FILE", 1)
  images = tmp_path / "images"
  for name in "ab":
    save(images / f"{name}.png", fixtures.noise_image(20, 20))
  first, second = ready(tmp_path, image_dir=str(images))
  folder = os.path.dirname(first)
  if damage == "cut":
    os.truncate(second, os.path.getsize(second) - 1)
    problem = f"{second}: is no TFRecord file or cut short; its length is "
  else:
    os.remove(second)
    problem = f"{folder} holds 1 images; accepted: 2; "
  if damage == "pipe":
    os.mkfifo(second)
    problem = f"input_path: '{second}' is a pipe and no regular file; accepted: TFRecord files; "
  with pytest.raises(ValueError) as caught:
    ready(tmp_path, image_dir=str(images))
  assert str(caught.value).startswith(problem)
  assert str(caught.value).endswith(f"; delete {folder}, and the images are made ready again")


def test_a_change_of_the_images_is_seen(tmp_path):
  images = tmp_path / "images"
  save(images / "a.png", fixtures.noise_image(20, 20))
  first = ready(tmp_path, image_dir=str(images))
  save(images / "b.png", fixtures.noise_image(20, 20, 1))
  second = ready(tmp_path, image_dir=str(images))
  assert list(read(second)) == ["a.png", "b.png"]
  # The files of a run that is under way stay as they are.
  assert list(read(first)) == ["a.png"]
  os.utime(images / "a.png", ns=(0, 0))
  third = ready(tmp_path, image_dir=str(images))
  assert third not in (first, second)
  # Other sides are other images, too; each is found again.
  for short_side in (10, 15):
    shrunk = ready(tmp_path, image_dir=str(images), short_side=short_side)
    assert [image.shape for image in read(shrunk).values()] == [(short_side, short_side, 3)] * 2
  assert ready(tmp_path, image_dir=str(images)) == third


def test_another_place_is_other_images(tmp_path):
  # Of one size and one time, in folders of one name.
  for number, place in enumerate(("x", "y")):
    path = tmp_path / place / "images" / "a.bmp"
    save(path, fixtures.noise_image(4, 4, number))
    os.utime(path, ns=(5, 5))
  first, second = (
    read(ready(tmp_path, image_dir=str(tmp_path / place / "images")))["a.bmp"] for place in "xy"
  )
  assert np.any(first != second)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_large_images_are_shrunk(tmp_path, name):
  image = quarters().repeat(4, axis=0).repeat(4, axis=1)  # 160 x 240
  save(tmp_path / "images" / name, image)
  (found,) = read(ready(tmp_path, image_dir=str(tmp_path / "images"), short_side=50)).values()
  assert found.shape == (50, 75, 3)
  corners = found[[5, 5, 45, 45], [5, 70, 5, 70]]
  np.testing.assert_allclose(corners, [RED, GREEN, BLUE, (255, 255, 255)], atol=8)


def test_shrunk_pixels_are_means_and_not_single_ones():
  columns = np.tile(np.arange(120) % 2 * 200, [120, 1]).astype(np.uint8)
  content = io.BytesIO()
  Image.fromarray(np.stack([columns] * 3, axis=-1)).save(content, "PNG")
  shrunk = image_store.ready_image(content.getvalue(), "a.png", 30)
  assert (shrunk.format, shrunk.height, shrunk.width, shrunk.reencoded) == ("png", 30, 30, True)
  with Image.open(io.BytesIO(shrunk.encoded)) as picture:
    np.testing.assert_allclose(np.asarray(picture), 100, atol=12)


def test_a_shrunk_jpeg_is_fine_and_says_nothing_else():
  content, as_saved = io.BytesIO(), io.BytesIO()
  image = Image.fromarray(fixtures.noise_image(80, 80))
  image.save(content, "JPEG", quality=50, comment=b"mine", icc_profile=b"profile")
  image.save(as_saved, "JPEG", quality=95)
  shrunk = image_store.ready_image(content.getvalue(), "a.jpg", 40)
  with Image.open(io.BytesIO(shrunk.encoded)) as picture, Image.open(as_saved) as fine:
    assert picture.quantization == fine.quantization
    # Each pixel has a colour of its own.
    assert JpegImagePlugin.get_sampling(picture) == 0
    assert "comment" not in picture.info and "icc_profile" not in picture.info


def test_images_that_are_small_enough_stay_byte_for_byte(tmp_path):
  path = tmp_path / "images" / "a.jpg"
  save(path, fixtures.noise_image(20, 30))
  (file,) = ready(tmp_path, image_dir=str(path.parent), short_side=20)
  (content,) = tf.data.TFRecordDataset(file).as_numpy_iterator()
  feature = tf.train.Example.FromString(content).features.feature
  assert feature[schema.IMAGE_ENCODED].bytes_list.value[0] == path.read_bytes()
  assert feature[schema.IMAGE_FORMAT].bytes_list.value[0] == b"jpeg"
  assert feature[schema.IMAGE_FILENAME].bytes_list.value[0] == b"a.jpg"
  assert not feature[schema.OBJECT_LABEL].int64_list.value


def test_many_images_keep_their_order_over_several_files(tmp_path, monkeypatch, messages):
  monkeypatch.setattr(progress_lines, "_SECONDS_BETWEEN_LINES", 0.0)
  monkeypatch.setattr(image_store, "_IMAGES_PER_FILE", 3)
  monkeypatch.setattr(image_store, "_IMAGES_IN_FLIGHT", 4)
  for number in range(10):
    save(tmp_path / "images" / f"{number}.png", fixtures.solid_image(4, 4, number))
  (tmp_path / "images" / "5.png").write_bytes(b"broken")
  files = ready(tmp_path, image_dir=str(tmp_path / "images"))
  assert len(files) == 4
  found = read(files)
  assert [int(image[0, 0, 0]) for image in found.values()] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
  told = [line.split(", ")[0] for line in messages() if line.startswith("reading images: ")]
  assert told == [f"reading images: {number}/10" for number in range(1, 11)]


def test_records_are_taken_as_they_are_or_made_ready(tmp_path, messages):
  good = [
    fixtures.serialized_example(fixtures.noise_image(40, 40, i), source_id=f"n{i}")
    for i in range(2)
  ]
  example = tf.train.Example.FromString(good[0])
  example.features.feature[schema.IMAGE_ENCODED].bytes_list.value[0] = b"broken"
  example.features.feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0] = b"bad"
  lacking = tf.train.Example().SerializeToString()
  path = fixtures.write_records(
    tmp_path / "train-0.tfrecord", [good[0], example.SerializeToString(), lacking, good[1]]
  )
  assert ready(tmp_path, input_path=path) == [path]
  found = read(ready(tmp_path, input_path=path, short_side=20))
  assert list(found) == ["n0", "n1"]
  assert found["n1"].shape == (20, 20, 3)
  told = messages()
  assert any(line.startswith("warning: left out: bad: image: ") for line in told)
  assert any(line.startswith("warning: left out: train-0.tfrecord: record 2: ") for line in told)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda folder: None, "image_dir is '.*images'; accepted: a folder that exists"),
    (lambda folder: folder.mkdir(), "which holds no image; accepted: a folder with files that end"),
    (
      lambda folder: (folder.mkdir(), (folder / "a.png").write_bytes(b"")),
      "no image is left to read; accepted: at least one sound image\na.png: image: ",
    ),
  ],
)
def test_no_image_is_an_error(tmp_path, make, message):
  make(tmp_path / "images")
  with pytest.raises(ValueError, match=message):
    ready(tmp_path, image_dir=str(tmp_path / "images"))
  # Nothing is left behind.
  assert not (tmp_path / "store").exists() or not os.listdir(tmp_path / "store")


def test_what_another_process_wrote_meanwhile_is_taken(tmp_path, monkeypatch):
  images = tmp_path / "images"
  save(images / "a.png", fixtures.noise_image(20, 20))
  before = image_store._write_records

  def write(source, short_side, folder):
    monkeypatch.setattr(image_store, "_write_records", before)
    ready(tmp_path, image_dir=str(images))
    return before(source, short_side, folder)

  monkeypatch.setattr(image_store, "_write_records", write)
  files = ready(tmp_path, image_dir=str(images))
  assert list(read(files)) == ["a.png"]
  assert len(os.listdir(tmp_path / "store")) == 1


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path):
  save(tmp_path / "images" / "a.png", fixtures.noise_image(20, 20))
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="file"):
    ready(tmp_path, image_dir=str(tmp_path / "images"), store_dir=str(tmp_path / "file"))


def test_the_summary_says_what_the_files_hold(tmp_path):
  save(tmp_path / "images" / "a.png", fixtures.noise_image(20, 20))
  files = ready(tmp_path, image_dir=str(tmp_path / "images"), short_side=64)
  with open(os.path.join(os.path.dirname(files[0]), "summary.json")) as file:
    assert json.load(file) == {
      "source": str(tmp_path / "images"), "short_side": 64, "num_images": 1, "faults": []
    }  # fmt: skip


def test_without_a_folder_images_are_kept_in_the_users_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  save(tmp_path / "images" / "a.png", fixtures.noise_image(4, 4))
  (file,) = ready(tmp_path, image_dir=str(tmp_path / "images"), store_dir="")
  assert os.path.dirname(os.path.dirname(file)) == str(tmp_path / "cache" / "mtl_ssl_tf" / "images")


def test_the_default_folder_is_in_the_users_cache(monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
  assert str(image_store.default_dir()) == "/somewhere/mtl_ssl_tf/images"
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", "/home/me")
  assert str(image_store.default_dir()) == "/home/me/.cache/mtl_ssl_tf/images"
