"""Settings from facts: size of the input, slots, flips, steps."""

import numpy as np
import pytest

from mtl_ssl_tf.suggestion import choices
from mtl_ssl_tf.suggestion import facts as facts_lib


def made_up(image_size=(480, 640), sides=(64.0, 160.0), num_images=40, names=("cat", "dog")):
  """One object of each class in each image, square, with the class's side."""
  per_image = len(names)
  return facts_lib.DataFacts(
    class_names=names,
    image_sizes=np.tile(image_size, [num_images, 1]),
    boxes=np.tile(np.repeat(np.array(sides)[:per_image, np.newaxis], 2, axis=1), [num_images, 1]),
    images=np.repeat(np.arange(num_images), per_image),
    classes=np.tile(np.arange(1, per_image + 1), num_images),
  )


def test_the_input_is_as_large_as_the_smallest_class_needs():
  # 64 of 640 pixels are 32 of 320, and 40 of 640 are 32 of 512.
  *sides, setting = choices.input_size(made_up(), 640)
  assert sides == [256, 320]
  assert setting.fields == {"short_side": 256, "long_side": 320, "input_size": [256, 320]}
  *sides, setting = choices.input_size(made_up(sides=(40.0, 160.0)), 640)
  assert sides == [384, 512]
  assert "'cat', the smallest class, have a side of 32 pixels or more" in setting.reason


def test_the_input_is_no_larger_than_allowed_or_than_the_images():
  *sides, setting = choices.input_size(made_up(sides=(8.0, 160.0)), 512)
  assert sides == [384, 512]
  assert setting.reason.endswith("6 pixels or more, which is small: it may be missed")
  *sides, _ = choices.input_size(made_up((300, 400), sides=(8.0, 8.0)), 2000)
  assert sides == [320, 416]


def test_upright_images_have_an_upright_input_and_mixed_ones_both():
  *_, setting = choices.input_size(made_up((640, 480)), 640)
  assert setting.fields["input_size"] == [320, 256]
  mixed = made_up()
  mixed.image_sizes[::2] = [640, 480]
  *_, setting = choices.input_size(mixed, 640)
  assert setting.fields["input_layout"] == "by_orientation"
  assert setting.fields["input_size"] == [256, 320]
  assert setting.reason.endswith("50 % are upright")


def test_slots_hold_the_fullest_image_and_a_quarter_more():
  facts = made_up()
  assert choices.slots(facts).fields == {"max_num_boxes": 10}
  full = facts_lib.DataFacts(
    facts.class_names, facts.image_sizes, np.ones([81, 2]), np.full(81, 3), np.ones(81, int)
  )
  assert choices.slots(full).fields == {"max_num_boxes": 110}


@pytest.mark.parametrize("name", ["left_hand", "RIGHT", "shoe left"])
def test_no_flip_where_a_class_is_named_after_a_side(name):
  setting = choices.flips(made_up(names=("dog", name)))
  assert setting.fields == {"flip_probability": 0.0}
  assert repr(name) in setting.reason


@pytest.mark.parametrize("name", ["bright", "leftover", "cat"])
def test_flips_otherwise(name):
  assert choices.flips(made_up(names=("dog", name))).fields == {"flip_probability": 0.5}


@pytest.mark.parametrize(
  ("num_images", "steps"), [(40, 1200), (400, 2400), (1501, 9050), (100_000, 30_000)]
)
def test_steps(num_images, steps):
  setting = choices.schedule(made_up(num_images=num_images), 4)
  assert setting.fields["train_steps"] == steps
  assert setting.fields["validation_interval"] * choices.EVALUATIONS == steps


def test_boxes_are_measured_in_the_resized_image():
  facts = made_up()
  np.testing.assert_allclose(facts.scales(256, 320), 0.5)
  np.testing.assert_allclose(facts.resized_boxes(256, 320)[:2], [[32.0, 32.0], [80.0, 80.0]])
  # The short side decides where it is the tighter bound.
  np.testing.assert_allclose(facts.scales(120, 320), 0.25)
  assert facts.most_objects == 2 and facts.num_images == 40


def test_anchors_are_for_the_size_that_is_chosen():
  by_path = {setting.path: setting.fields for setting in choices.choose(made_up(), 640, 4)}
  # Half the size: sides of 32 and 80 pixels.
  assert by_path["task.anchors"] == {
    "base_size_px": 80.0,
    "scales": [0.4, 1.0],
    "aspect_ratios": [1.0],
  }
