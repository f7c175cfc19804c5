"""Settings of the input of pretraining: what is refused, and the published values."""

import dataclasses

import pytest

from mtl_ssl_tf.configs import insloc_data


def data(**fields) -> insloc_data.InsLocData:
  result = insloc_data.InsLocData(image_dir="images")
  result.override(fields, is_strict=True)
  return result


def test_defaults_are_the_published_ones():
  default = data()
  insloc_data.check(default, "task.train_data")
  assert default.global_batch_size == 256
  assert dataclasses.astuple(default.composite) == (256, 0.2, 1.0, 0.5, 2.0, 0.5, 254 / 256, 0.5)
  assert default.colors.as_dict() == {
    "jitter_probability": 0.8,
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grey_probability": 0.2,
    "blur_probability": 0.5,
    "blur_sigma_min": 0.1,
    "blur_sigma_max": 2.0,
  }
  boxes = insloc_data.BoxAugmentation()
  insloc_data.check_box_augmentation(boxes, "task.box_augmentation")
  assert (boxes.min_iou, boxes.cells, boxes.scales) == (0.5, 16, [2.0, 4.0, 8.0, 16.0])


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"image_dir": ""}, "task.train_data.image_dir is '' and task.train_data.input_path ''"),
    ({"input_path": "a"}, "image_dir is .images. and task.train_data.input_path .a.; accepted: o"),
    ({"composite": {"size": 8}}, "task.train_data.composite.size is 8; accepted: 16 to 8,192"),
    ({"composite": {"crop_area_min": 1.5}}, "composite.crop_area_min is 1.5; accepted: 0.0 to 1"),
    (
      {"composite": {"crop_area_max": 0.1}},
      r"task.train_data.composite.crop_area_min is 0.2; accepted: above 0 and at most"
      r" crop_area_max \(0.1\)",
    ),
    ({"composite": {"crop_area_min": 0.0}}, "crop_area_min is 0.0; accepted: above 0"),
    ({"composite": {"crop_aspect_min": 0.0}}, "crop_aspect_min is 0.0; accepted: 0.001 to 1,000.0"),
    ({"composite": {"crop_aspect_max": 0.4}}, "crop_aspect_min is 0.5; accepted: above 0 and at"),
    ({"composite": {"paste_side_max": 0.4}}, "paste_side_min is 0.5; accepted: above 0 and at"),
    ({"colors": {"blur_sigma_max": 0.0}}, "colors.blur_sigma_min is 0.1; accepted: at least 0"),
    ({"colors": {"jitter": {"hue": 0.6}}}, "colors.jitter.hue is 0.6; accepted: 0.0 to 0.5"),
    ({"store_side": -1.0}, "task.train_data.store_side is -1.0; accepted: 0.0 to 1,000.0"),
    (
      {"shuffle_buffer_size": 3},
      "task.train_data.shuffle_buffer_size is 3; accepted: 100, as this field has no effect",
    ),
  ],
)
def test_what_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    insloc_data.check(data(**fields), "task.train_data")


def test_a_blur_may_be_none_at_all():
  insloc_data.check(data(colors={"blur_sigma_min": 0.0, "blur_sigma_max": 0.0}), "data")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"min_iou": 1.5}, "boxes.min_iou is 1.5; accepted: 0.0 to 1.0"),
    ({"cells": 0}, "boxes.cells is 0; accepted: 1 to 1,000"),
    ({"scales": []}, r"boxes.scales is \[\]; accepted: a list of 1 to 20 numbers, each 0.001"),
    ({"aspect_ratios": [1.0, 0.0]}, r"boxes.aspect_ratios is \[1.0, 0.0\]; accepted: a list"),
  ],
)
def test_what_is_refused_of_the_boxes(fields, message):
  boxes = insloc_data.BoxAugmentation()
  boxes.override(fields, is_strict=True)
  with pytest.raises(ValueError, match=message):
    insloc_data.check_box_augmentation(boxes, "boxes")
