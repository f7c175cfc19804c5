"""Settings of the input that cannot be met, or would do nothing."""

import pytest

from mtl_ssl_tf.configs import data_validation, experiments


def task(data="train_data", **fields):
  config = experiments.mtl_frcnn().task
  config.override({data: fields})
  return config


def message(data, **fields) -> str:
  with pytest.raises(ValueError) as error:
    data_validation.check_data(task(data, **fields))
  return str(error.value)


def test_defaults_pass():
  data_validation.check_data(task())


@pytest.mark.parametrize(
  ("data", "field", "value", "accepted"),
  [
    ("train_data", "shuffle_buffer_size", 7, 100),
    ("validation_data", "cycle_length", 7, None),
    ("train_data", "block_length", 7, 1),
    ("validation_data", "sharding", False, True),
    ("train_data", "drop_remainder", False, True),
    ("validation_data", "drop_remainder", True, False),
    ("train_data", "deterministic", False, None),
    ("validation_data", "tfds_name", "coco", ""),
    ("train_data", "enable_tf_data_service", True, False),
    ("validation_data", "prefetch_buffer_size", 7, None),
  ],
)
def test_fields_without_effect(data, field, value, accepted):
  assert message(data, **{field: value}) == (
    f"task.{data}.{field} is {value!r}; accepted: {accepted!r}, as this field has no effect; those"
    " that have: input_path, global_batch_size, is_training, cache, input_layout, input_size,"
    " short_side, long_side, max_num_boxes, flip_probability, vertical_flip_probability, scale_min,"
    " scale_max, scale_crop, augmentation, difficult, crowd, seed"
  )


@pytest.mark.parametrize(("data", "value"), [("train_data", False), ("validation_data", True)])
def test_training_of_the_wrong_data(data, value):
  assert message(data, is_training=value) == (
    f"task.{data}.is_training is {value}; accepted: {not value}"
  )


@pytest.mark.parametrize("data", data_validation.DATA)
def test_two_input_sizes_differ(data):
  assert message(data, input_layout="by_orientation", input_size=[64, 64]) == (
    f"task.{data}.input_size is [64, 64]; accepted with task.{data}.input_layout by_orientation:"
    " a height and a width that differ"
  )
  for layout in ("single", "by_orientation"):
    data_validation.check_data(task(data, input_layout=layout, input_size=[64, 96]))


@pytest.mark.parametrize("data", data_validation.DATA)
@pytest.mark.parametrize(
  ("low", "high", "values"),
  [("scale_min", "scale_max", (2.0, 0.5)), ("short_side", "long_side", (9, 8))],
)
def test_the_smaller_one_is_not_the_larger_one(data, low, high, values):
  assert message(data, **dict(zip((low, high), values, strict=True))) == (
    f"task.{data}.{low} is {values[0]}; accepted: at most task.{data}.{high} ({values[1]})"
  )


@pytest.mark.parametrize(
  ("data", "field"),
  [("train_data", "train_tf_while_loop"), ("validation_data", "eval_tf_while_loop")],
)
def test_loops_in_a_graph(data, field):
  trainer = experiments.mtl_frcnn().trainer
  trainer.override({field: True})
  data_validation.check_loops(task(data), trainer)
  config = task(data, input_layout="by_orientation")
  with pytest.raises(ValueError) as error:
    data_validation.check_loops(config, trainer)
  assert str(error.value) == (
    f"trainer.{field} is True; accepted with task.{data}.input_layout by_orientation: False, as"
    " such a loop takes batches of one size"
  )
  trainer.override({field: False})
  data_validation.check_loops(config, trainer)
