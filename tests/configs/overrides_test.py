"""What a file may ask to change, and what is said when it may not."""

import pytest

from mtl_ssl_tf.configs import experiments, overrides


def check(**fields):
  overrides.check_overrides(fields, experiments.mtl_frcnn(), "x.yaml")


def message_of(**fields) -> str:
  with pytest.raises(ValueError) as error:
    check(**fields)
  return str(error.value)


@pytest.mark.parametrize(
  ("fields", "unknown", "nearest"),
  [
    ({"tasks": {}}, "tasks", "task"),
    ({"task": {"lable_map": "a"}}, "task.lable_map", "task.label_map"),
    ({"task": {"rpn": {"nms_iuo": 0.5}}}, "task.rpn.nms_iuo", "task.rpn.nms_iou"),
    (
      {"task": {"auxiliary": {"closeness": {"include_same": True}}}},
      "task.auxiliary.closeness.include_same",
      "task.auxiliary.closeness.include_same_class",
    ),
    (
      {"trainer": {"optimizer_config": {"learning_rate": {"cosine": {"decay_step": 5}}}}},
      "trainer.optimizer_config.learning_rate.cosine.decay_step",
      "trainer.optimizer_config.learning_rate.cosine.decay_steps",
    ),
    # A group that is absent until somebody asks for it.
    (
      {"trainer": {"optimizer_config": {"ema": {"average_decoy": 0.9}}}},
      "trainer.optimizer_config.ema.average_decoy",
      "trainer.optimizer_config.ema.average_decay",
    ),
  ],
)
def test_misspelt_field_is_named_with_the_nearest(fields, unknown, nearest):
  assert message_of(**fields).startswith(
    f"x.yaml: unknown field {unknown!r}; the nearest is {nearest!r} (here: "
  )


@pytest.mark.parametrize(
  ("fields", "full", "cure"),
  [
    ({"task": {"num_classes": 3}}, "task.num_classes", "lines of the label map, task.label_map"),
    ({"task": {"roi_head": {"num_classes": 3}}}, "task.roi_head.num_classes", "task.label_map"),
    ({"trainer": {"epochs": 12}}, "trainer.epochs", "trainer.train_steps: epochs times images"),
  ],
)
def test_what_other_detectors_call_it_leads_to_the_cure(fields, full, cure):
  message = message_of(**fields)
  assert message.startswith(f"x.yaml: unknown field {full!r}; ")
  assert cure in message and "nearest" not in message


@pytest.mark.parametrize("key", [5, "_locked", "default_params"])
def test_what_only_looks_like_a_field(key):
  assert message_of(task={key: True}).startswith(f"x.yaml: unknown field 'task.{key}'; ")


@pytest.mark.parametrize(
  ("fields", "field", "accepted"),
  [
    ({"task": 3}, "field 'task' is 3", "a mapping of field to value"),
    ({"task": None}, "field 'task' is None", "a mapping of field to value"),
    ({"task": {"rpn": 5}}, "field 'task.rpn' is 5", "a mapping of field to value"),
    ({"task": {"rpn": None}}, "field 'task.rpn' is None", "a mapping of field to value"),
    ({"task": {"rpn": [1]}}, "field 'task.rpn' is [1]", "a mapping of field to value"),
    ({"task": {"seed": {"a": 1}}}, "field 'task.seed' is {'a': 1}", "a whole number"),
    ({"task": {"seed": "1"}}, "field 'task.seed' is '1'", "a whole number"),
    ({"task": {"seed": True}}, "field 'task.seed' is True", "a whole number"),
    ({"trainer": {"train_steps": 1e3}}, "field 'trainer.train_steps' is 1000.0", "a whole number"),
    ({"task": {"rpn": {"nms_iou": "x"}}}, "field 'task.rpn.nms_iou' is 'x'", "a number"),
    (
      {"task": {"refinement": {"enabled": 1}}},
      "field 'task.refinement.enabled' is 1",
      "true or false",
    ),
    ({"task": {"label_map": 5}}, "field 'task.label_map' is 5", "text"),
    (
      {"task": {"train_data": {"input_size": 64}}},
      "field 'task.train_data.input_size' is 64",
      "a list (a whole number each)",
    ),
    (
      {"task": {"anchors": {"scales": [1.0, "x"]}}},
      "field 'task.anchors.scales' is [1.0, 'x']",
      "a list (a number each)",
    ),
    (
      {"task": {"train_data": {"input_path": {"a": "b"}}}},
      "field 'task.train_data.input_path' is {'a': 'b'}",
      "a list (text each) or text",
    ),
    (
      {"task": {"auxiliary": {"round_decimals": "3"}}},
      "field 'task.auxiliary.round_decimals' is '3'",
      "a whole number or null",
    ),
  ],
)
def test_value_of_another_type(fields, field, accepted):
  assert message_of(**fields) == f"x.yaml: {field}; accepted: {accepted}"


def test_whole_that_is_no_mapping():
  with pytest.raises(ValueError, match=r"^x.yaml: the whole is None; accepted: a mapping"):
    overrides.check_overrides(None, experiments.mtl_frcnn(), "x.yaml")


def test_unknown_alternative():
  assert message_of(trainer={"optimizer_config": {"warmup": {"type": "lineal"}}}) == (
    "x.yaml: field 'trainer.optimizer_config.warmup.type' is 'lineal'; accepted: linear, polynomial"
  )


@pytest.mark.parametrize(
  "fields",
  [
    {},
    {"task": {}},
    {"task": {"rpn": {"nms_iou": 1}, "anchors": {"scales": [1, 0.5]}}},
    {"task": {"auxiliary": {"round_decimals": None}}},
    {"task": {"auxiliary": {"round_decimals": 3}}},
    {"task": {"train_data": {"input_path": "a"}, "validation_data": {"input_path": ["a", "b"]}}},
    {"trainer": {"optimizer_config": {"ema": {"average_decay": 0.9}}}},
    {"trainer": {"optimizer_config": {"ema": None, "warmup": {"type": None}}}},
    {"runtime": {"loss_scale": "dynamic"}},
    {"runtime": {"loss_scale": 128.0}},
  ],
)
def test_accepted(fields):
  check(**fields)


def test_absent_group_may_be_taken_back():
  config = experiments.mtl_frcnn()
  config.override({"trainer": {"optimizer_config": {"ema": {"average_decay": 0.9}}}})
  overrides.check_overrides({"trainer": {"optimizer_config": {"ema": None}}}, config, "x.yaml")


def test_values_are_cut_to_one_line():
  long = "x" * 10_000
  assert message_of(task={"seed": long}) == (
    f"x.yaml: field 'task.seed' is '{'x' * 198}…; accepted: a whole number"
  )
  assert message_of(task={"seed": ["a"] * 10**6}).startswith("x.yaml: field 'task.seed' is ['a', ")
  found = message_of(task={long: 1})
  assert found.startswith(f"x.yaml: unknown field 'task.{'x' * 193}…; the nearest is ")


def test_a_value_of_aliases_is_not_expanded():
  value = ["lol"]
  for _ in range(6):
    value = [value] * 10
  found = message_of(task={"seed": value})
  assert found.endswith("…; accepted: a whole number")
  assert len(found) < 300
