"""Values from which no detector can be built, or with which no run would end."""

import pytest

from mtl_ssl_tf.configs import experiments, fields, validation

DATA = ("train_data", "validation_data")


def experiment(**changed):
  config = experiments.mtl_frcnn()
  config.override({"task": {"label_map": "labels.txt"}})
  config.override(changed)
  return config


def declared(part, what) -> dict:
  """Path of a field -> its choices, where there are any."""
  config = getattr(experiments.mtl_frcnn(), part)
  found = {path: what(field) for path, _, field in fields.walk(config)}
  return {path: values for path, values in found.items() if values is not None}


CHOICES = declared("task", fields.choices_of)
TRAINER_CHOICES = declared("trainer", fields.choices_of)


def set_field(config, path: str, value) -> None:
  *groups, name = path.split(".")
  for group in groups:
    config = getattr(config, group)
  setattr(config, name, value)


def task_message(path: str, value) -> str:
  config = experiment().task
  set_field(config, path, value)
  with pytest.raises(ValueError) as error:
    validation.check_task(config)
  return str(error.value)


def trainer_message(**changed) -> str:
  with pytest.raises(ValueError) as error:
    validation.check_trainer(experiment(trainer=changed).trainer)
  return str(error.value)


def test_defaults_pass():
  config = experiment()
  validation.check_task(config.task)
  validation.check_trainer(config.trainer)


@pytest.mark.parametrize("path", CHOICES)
def test_unknown_choice(path):
  accepted = ", ".join(CHOICES[path])
  assert task_message(path, "other") == f"task.{path} is 'other'; accepted: {accepted}"


@pytest.mark.parametrize("path", CHOICES)
def test_every_choice_passes(path):
  for choice in CHOICES[path]:
    config = experiment(task={data: {"input_size": [600, 1000]} for data in DATA}).task
    set_field(config, path, choice)
    validation.check_task(config)


def test_bins_divide_the_samples_of_a_region():
  assert task_message("roi_head.rfcn.crop_size", 16) == (
    "task.roi_head.rfcn.crop_size is 16; accepted: a multiple of task.roi_head.rfcn.num_bins (3)"
  )

  assert task_message("auxiliary.shared_map.num_bins", 2) == (
    "task.auxiliary.shared_map.crop_size is 7; accepted: a multiple of "
    "task.auxiliary.shared_map.num_bins (2)"
  )


def test_features_of_single_regions_need_a_head_that_has_them():
  config = experiment().task
  config.override({"auxiliary": {"features": "main_head"}, "roi_head": {"type": "rfcn"}})
  message = r"task\.auxiliary\.features is 'main_head'; accepted: own_stage2 or shared_map"
  with pytest.raises(ValueError, match=message):
    validation.check_task(config)
  config.roi_head.type = "faster_rcnn"
  validation.check_task(config)


@pytest.mark.parametrize("norm", ["batch", "sync"])
def test_statistics_are_updated_once_a_batch(norm):
  config = experiment().task
  config.override({"backbone": {"recompute": True, "norm": {"type": norm}}})
  with pytest.raises(ValueError, match=f"recompute is true; accepted: .* is '{norm}'"):
    validation.check_task(config)
  for other in ("frozen", "group"):
    config.backbone.norm.type = other
    validation.check_task(config)


def test_groups_normalise_single_crops():
  config = experiment().task
  config.override({"roi_head": {"convolution": "fourier"}})
  validation.check_task(config)
  config.backbone.norm.type = "group"
  with pytest.raises(ValueError, match="convolution is 'fourier'; accepted: auto or direct where"):
    validation.check_task(config)


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5]])
def test_no_number(value):
  assert task_message("rpn.nms_iou", value) == (
    f"task.rpn.nms_iou is {value!r}; accepted: a number, 0.0 to 1.0"
  )


@pytest.mark.parametrize("values", [[], [0.0], [1.0, -1.0], [1.0, float("inf")]])
@pytest.mark.parametrize("path", ["anchors.scales", "anchors.aspect_ratios"])
def test_anchor_lists(path, values):
  assert task_message(path, values) == (
    f"task.{path} is {values!r}; accepted: a list of 1 to 20 numbers, each 0.001 to 1,000.0"
  )


def test_fields_that_depend_on_each_other():
  assert task_message("rpn.negative_iou", 0.8) == (
    "task.rpn.negative_iou is 0.8; accepted: at most task.rpn.positive_iou (0.7)"
  )
  assert task_message("roi_head.max_pool", 8) == (
    "task.roi_head.max_pool is 8; accepted: at most task.roi_head.crop_size (7)"
  )


def test_too_many_windows():
  assert task_message("auxiliary.multi_object.num_windows", 10**9) == (
    "task.auxiliary.multi_object.num_windows is 1000000000; accepted: 1 to 10,000"
  )


def test_round_decimals():
  assert task_message("auxiliary.round_decimals", 0) == (
    "task.auxiliary.round_decimals is 0; accepted: 1 to 10, or null"
  )


def test_label_map_is_needed():
  assert task_message("label_map", "") == (
    "task.label_map is empty; accepted: the label_map.txt that the converter wrote"
  )


@pytest.mark.parametrize("value", [[], ["voc", "voc"], ["map"], ["voc", "map"], "coco"])
def test_metrics(value):
  assert task_message("evaluation.metrics", value) == (
    f"task.evaluation.metrics is {value!r}; accepted: a list of voc and coco, or of one of them"
  )


@pytest.mark.parametrize("value", [["voc"], ["coco"], ["coco", "voc"]])
def test_metrics_in_any_order(value):
  config = experiment().task
  config.evaluation.metrics = value
  validation.check_task(config)


def test_official_annotations_are_of_use_to_coco_metrics():
  assert task_message("evaluation.coco_annotations", "a.json") == (
    "task.evaluation.coco_annotations is 'a.json'; accepted: empty, or a file where"
    " task.evaluation.metrics holds coco"
  )
  config = experiment().task
  config.evaluation.coco_annotations, config.evaluation.metrics = "a.json", ["voc", "coco"]
  validation.check_task(config)


@pytest.mark.parametrize("name", TRAINER_CHOICES)
def test_trainer_choices(name):
  choices = TRAINER_CHOICES[name]
  message = f"trainer.{name} is 'other'; accepted: {', '.join(choices)}"
  assert trainer_message(**{name: "other"}) == message
  for choice in choices:
    validation.check_trainer(experiment(trainer={name: choice}).trainer)


def test_trainer_fields_that_depend_on_each_other():
  assert trainer_message(steps_per_loop=7, summary_interval=20) == (
    "trainer.summary_interval is 20; accepted: a multiple of trainer.steps_per_loop (7)"
  )


def test_a_run_that_is_to_end_saves():
  assert trainer_message(preemption_on_demand_checkpoint=False).startswith(
    "trainer.preemption_on_demand_checkpoint is False; accepted: True, "
  )


@pytest.mark.parametrize("steps", [0, -2])
def test_validation_steps(steps):
  assert trainer_message(validation_steps=steps) == (
    f"trainer.validation_steps is {steps}; accepted: 1 to 1,000,000,000, or -1"
  )


def test_learning_rate_scaling():
  assert trainer_message(learning_rate_scaling="sqrt") == (
    "trainer.learning_rate_scaling is 'sqrt'; accepted: none, linear"
  )
  assert (
    trainer_message(base_batch_size=0) == "trainer.base_batch_size is 0; accepted: 1 to 1,000,000"
  )


def test_learning_rates_are_checked_as_schedules():
  stepwise = {"boundaries": [10, 20], "values": [0.1, 0.01]}
  assert trainer_message(optimizer_config={"learning_rate": {"stepwise": stepwise}}).startswith(
    "trainer.optimizer_config.learning_rate.stepwise.values is [0.1, 0.01]; accepted: 3 rates, "
  )


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_decay_of_averages(decay):
  assert trainer_message(optimizer_config={"ema": {"average_decay": decay}}) == (
    f"trainer.optimizer_config.ema.average_decay is {decay}; accepted: above 0.0 and below 1.0"
  )


def test_start_of_averages():
  def message(start_step):
    return trainer_message(train_steps=50, optimizer_config={"ema": {"start_step": start_step}})

  field = "trainer.optimizer_config.ema.start_step"
  assert message(-1) == f"{field} is -1; accepted: 0 to 1,000,000,000"
  assert message(50) == f"{field} is 50; accepted: below trainer.train_steps (50)"
  ema = {"average_decay": 0.9, "start_step": 49}
  config = experiment(trainer={"train_steps": 50, "optimizer_config": {"ema": ema}})
  validation.check_trainer(config.trainer)


def test_an_optimizer_that_decays_biases():
  optimizer = {"type": "adamw_experimental"}
  assert trainer_message(optimizer_config={"optimizer": optimizer}).startswith(
    "trainer.optimizer_config.optimizer.type is 'adamw_experimental'; accepted: adamw, "
  )


def test_clipping_before_gradients_are_added_up():
  optimizer = {"type": "adamw", "adamw": {"gradient_clip_norm": 1.0}}
  assert trainer_message(optimizer_config={"optimizer": optimizer}).startswith(
    "trainer.optimizer_config.optimizer.adamw.gradient_clip_norm is 1.0; accepted: 0, and "
    "global_clipnorm in its place"
  )


_NO_L2 = dict.fromkeys(("backbone_l2", "rpn_l2", "head_l2", "auxiliary_l2"), 0.0)


@pytest.mark.parametrize(
  ("optimizer", "field"),
  [
    ({"type": "adamw", "adamw": {"weight_decay_rate": 0.05}}, "adamw.weight_decay_rate"),
    ({"type": "lamb", "lamb": {"weight_decay_rate": 0.05}}, "lamb.weight_decay_rate"),
    ({"type": "adafactor", "adafactor": {"weight_decay": 0.05}}, "adafactor.weight_decay"),
  ],
)
def test_weight_decay_once(optimizer, field):
  def check(l2):
    config = experiment(
      task={"regularization": {**_NO_L2, **l2}},
      trainer={"optimizer_config": {"optimizer": optimizer}},
    )
    validation.check_weight_decay(
      config.trainer.optimizer_config.optimizer, config.task.regularization
    )

  check({})
  with pytest.raises(ValueError, match="as kernels would decay twice") as error:
    check({"rpn_l2": 1e-4, "head_l2": 1e-3})
  assert str(error.value) == (
    f"trainer.optimizer_config.optimizer.{field} is 0.05; accepted: 0, or 0 for each of "
    "task.regularization.rpn_l2 (0.0001), task.regularization.head_l2 (0.001), as kernels would "
    "decay twice"
  )


def test_decay_in_the_loss_alone():
  for optimizer in ({"type": "adamw"}, {"type": "momentum"}):
    config = experiment(trainer={"optimizer_config": {"optimizer": optimizer}})
    validation.check_weight_decay(
      config.trainer.optimizer_config.optimizer, config.task.regularization
    )


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"roi_head": {"type": "rfcn", "class_agnostic_boxes": True}},
      "task.roi_head.class_agnostic_boxes is true; accepted: false where task.roi_head.type is "
      "'rfcn'",
    ),
    (
      {"roi_head": {"type": "fpn", "max_pool": 2}},
      "task.roi_head.max_pool is 2; accepted: 1 where task.roi_head.type is 'fpn', whose crops "
      "have task.roi_head.fpn.samples",
    ),
    (
      {
        "roi_head": {"type": "fpn"},
        "auxiliary": {"features": "shared_map", "shared_map": {"num_bins": 7}},
      },
      "task.auxiliary.shared_map.num_bins is 7; accepted: 1 where task.roi_head.type is 'fpn'",
    ),
  ],
)
def test_on_a_feature_pyramid(fields, message):
  config = experiment().task
  config.override(fields)
  with pytest.raises(ValueError) as error:
    validation.check_task(config)
  assert str(error.value) == message
  config.override({"roi_head": {"type": "faster_rcnn"}})
  validation.check_task(config)
