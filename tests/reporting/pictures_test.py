"""Pictures of images with their boxes: bounded, in their colours, and none where there is none."""

import io

import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.reporting import pictures
from tests.data import voc_files
from tests.reporting import made_up


def test_images_by_their_ids(sources):
  wanted = {made_up.IMAGE_IDS[1], made_up.IMAGE_IDS[4], "unknown"}
  read = pictures.read(sources[0].records, wanted)
  assert read.keys() == wanted - {"unknown"}
  with Image.open(io.BytesIO(read[made_up.IMAGE_IDS[4]])) as image:
    assert image.size == made_up.SIZE[::-1]


def test_records_that_are_gone_leave_the_page_without_pictures(sources, capsys):
  assert pictures.read("nowhere.tfrecord", {"a"}) == {}
  assert capsys.readouterr().err == (
    "warning: the page has no pictures of images: input_path: no record files match"
    " 'nowhere.tfrecord'\n"
  )
  assert pictures.draw(sources[0], None, ["cat"]) is None


@pytest.mark.parametrize(
  ("size", "shown"), [((960, 480), (480, 240)), ((60, 80), (240, 320)), ((20, 4000), (2, 480))]
)
def test_size_is_bounded(found, size, shown):
  grey = voc_files.image_bytes(Image.new("RGB", size[::-1], (128, 128, 128)), "JPEG")
  content = pictures.draw(found[0].images[0], grey, made_up.NAMES)
  with Image.open(io.BytesIO(content)) as image:
    assert image.format == "JPEG" and image.size == shown[::-1]


def test_boxes_have_the_colour_of_their_verdict(found):
  blue = voc_files.image_bytes(Image.new("RGB", made_up.SIZE[::-1], (20, 20, 90)), "PNG")
  colors = {}
  for image in found[1].images:
    with Image.open(io.BytesIO(pictures.draw(image, blue, made_up.NAMES))) as drawn:
      pixels = np.asarray(drawn, int).reshape(-1, 3)
    for name in ("FOUND", "WRONG", "MISSED", "IGNORED"):
      near = np.abs(pixels - getattr(pictures, name)).max(axis=1) < 30
      colors.setdefault(name, []).append(bool(near.sum() > 30))
  assert colors["FOUND"] == [image.num_found > 0 for image in found[1].images]
  assert colors["WRONG"] == [image.num_wrong > 0 for image in found[1].images]
  assert colors["MISSED"] == [bool(image.missed.any()) for image in found[1].images]
  # The first image has a difficult object, the second a crowd.
  assert colors["IGNORED"][:2] == [True, True] and not all(colors["IGNORED"])
