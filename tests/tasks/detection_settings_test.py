"""What a detection run checks before it is built; the whole of it is tried in `driver_test.py`."""

import json

import pytest

from mtl_ssl_tf.configs import detector, insloc
from mtl_ssl_tf.data.records import pictures
from mtl_ssl_tf.tasks import detection_settings, insloc_settings
from mtl_ssl_tf.training import run_folder
from tests.data import picture_splits
from tests.tasks import tiny

# Settings of a detector's network that weights do not depend on, so that a run resumes where one of
# them has changed: how it is trained, how it starts, what inference selects, or how it computes.
MAY_CHANGE = {
  "backbone": {"freeze", "recompute", "norm.train_affine", "norm.momentum"},
  "anchors": set(),
  "fpn": set(),
  "rpn": {
    *("positive_iou", "negative_iou", "batch_size", "positive_fraction"),
    *("nms_iou", "pre_nms_top_k", "num_proposals"),
    *("box_loss_weight", "objectness_loss_weight", "box_loss_sigma"),
  },
  "roi_head": {
    *("batch_size", "positive_fraction", "positive_iou", "append_ground_truth"),
    *("convolution", "keep_border", "initializer", "cascade.ious", "cascade.loss_weights"),
    *("box_loss_weight", "class_loss_weight", "box_loss_sigma"),
  },
  "auxiliary": {
    *("multi_object.num_windows", "multi_object.min_size_px", "multi_object.sampling"),
    *("multi_object.resample", "multi_object.empty_image"),
    *("closeness.include_same_class", "closeness.drop_background", "closeness.normalizer"),
    *("foreground.mask_size", "foreground.weighting", "foreground.resize"),
    *("round_decimals", "flip_labels", "init_from"),
    *("stop_gradient_shared", "stop_gradient_includes_foreground"),
  },
  "refinement": {
    *("loss_weight", "stop_gradient_residual", "closeness_mean", "train_rois"),
    *("min_object_score", "zeroed_input", "max_proposals"),
  },
}


def may_change(config, group: str, fixed: tuple[str, ...]) -> set[str]:
  """The fields of a group of settings that a run may resume with other values of."""
  fields = run_folder.flatten(getattr(config, group).as_dict(), f"task.{group}.")
  return {
    name.removeprefix(f"task.{group}.")
    for name in fields
    if not any(name == one or name.startswith(f"{one}.") for one in fixed)
  }


@pytest.mark.parametrize("group", MAY_CHANGE)
def test_what_the_weights_depend_on_is_fixed_and_nothing_else(group):
  fixed = (*detection_settings.FIXED, *detection_settings.SWITCHES)
  assert may_change(detector.MtlDetection(), group, fixed) == MAY_CHANGE[group]


def test_so_it_is_for_a_pretraining():
  config = insloc.InsLoc()
  assert may_change(config, "backbone", insloc_settings.FIXED) == MAY_CHANGE["backbone"]
  weights = {
    *("task.head_type", "task.crop_size", "task.queue_size"),
    *("task.projection_hidden", "task.projection_depth"),
  }
  assert weights == {name for name in insloc_settings.FIXED if name.count(".") == 1}


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({"backbone": {"type": "resnet"}}, "task.backbone.type is 'resnet'; accepted: "),
    (
      {"backbone": {"type": "inception_resnet_v2"}, "roi_head": {"type": "fpn"}},
      "task.roi_head.type is 'fpn'; accepted: faster_rcnn or rfcn with this backbone: ",
    ),
  ],
)
def test_networks_that_cannot_be_built(folder, fields, expected):
  params = tiny.experiment(folder)
  for settings in ({}, fields):
    params.task.override(settings)
    if not settings:
      detection_settings.check(params)
      continue
    with pytest.raises(ValueError) as error:
      detection_settings.check(params)
    assert str(error.value).startswith(expected)


def test_weights_that_would_decay_twice(folder):
  optimizer = {"type": "adamw", "adamw": {"weight_decay_rate": 0.1}}
  params = tiny.experiment(folder, {"trainer": {"optimizer_config": {"optimizer": optimizer}}})
  with pytest.raises(ValueError) as error:
    detection_settings.check(params)
  assert str(error.value).startswith(
    "trainer.optimizer_config.optimizer.adamw.weight_decay_rate is 0.1; accepted: 0, or 0 for each"
    " of task.regularization."
  )


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({"backbone": {"norm": {"type": "sync"}}}, "task.backbone.norm.type is 'sync'; accepted: f"),
    ({"roi_head": {"type": "fpn"}, "fpn": {"norm": "sync"}}, "task.fpn.norm is 'sync'; accepted: "),
    (
      {"roi_head": {"type": "fpn", "fpn": {"norm": "sync", "layers": "4conv1fc"}}},
      "task.roi_head.fpn.norm is 'sync'; accepted: frozen, group, batch x",
    ),
    (
      {"refinement": {"closeness_mean": "all_rows"}},
      "task.refinement.closeness_mean is 'all_rows'; accepted: per_image_valid x",
    ),
    # There is no mean, or nobody asks for it.
    (
      {
        "refinement": {"closeness_mean": "all_rows"},
        "auxiliary": {"closeness": {"loss_weight": 0.0}},
      },
      None,
    ),
    ({"refinement": {"closeness_mean": "all_rows", "enabled": False}}, None),
  ],
)
def test_what_replicas_would_exchange_before_their_losses(fields, expected):
  config = detector.MtlDetection()
  config.backbone.norm.type = "batch"
  config.override(fields)
  if expected is None:
    detection_settings.check_split(config, "x")
    return
  with pytest.raises(ValueError) as error:
    detection_settings.check_split(config, "x")
  assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
  ("norm_type", "init", "warns"),
  [("frozen", "", True), ("frozen", "imagenet", False), ("batch", "", False)],
)
def test_frozen_statistics_without_start_weights(norm_type, init, warns, capsys):
  task = detector.MtlDetection()
  task.backbone.norm.type, task.init_checkpoint = norm_type, init
  detection_settings.check_start(task)
  told = capsys.readouterr().err
  assert told.startswith("warning: task.backbone.norm.type is 'frozen' and there are no") == warns


@pytest.mark.parametrize(
  ("backbone", "weights", "layout"),
  [
    ("resnet_101", "imagenet", "keras"),
    ("resnet_50", "imagenet", "keras"),
    ("resnet_101", "resnet_v1_101.ckpt", "slim"),
    ("mobilenet_v1", "imagenet", "slim"),
    ("resnet_18", "imagenet", "slim"),
    ("resnet_18", "resnet18.pth", "torchvision"),
    ("resnet_50", "resnet50.pt", "torchvision"),
    ("mobilenet_v1", "mobilenet.pth", "slim"),
  ],
)
def test_weights_of_resnet_bring_their_layout(backbone, weights, layout):
  task = detector.MtlDetection()
  task.backbone.type = backbone
  detection_settings.start_from(task, weights)
  assert (task.init_checkpoint, task.backbone.layout) == (weights, layout)


class TestBoxesOfTheRecords:
  def _check(self, folder, name, **boxes):
    (folder / "label_map.txt").write_text("cat\ndog\n")
    (folder / "val-0.tfrecord").touch()
    content = {
      "shards": [{"file": "val-0.tfrecord"}],
      "num_images": 7,
      "num_images_without_boxes": 3,
      "boxes_per_class": {"cat": 0, "dog": 0} | boxes,
    }
    (folder / "manifest_val.json").write_text(json.dumps(content))
    task = detector.MtlDetection()
    task.label_map = str(folder / "label_map.txt")
    getattr(task, name).input_path = str(folder / "val-*.tfrecord")
    detection_settings.check_data(task, name)

  @pytest.mark.parametrize("name", ["train_data", "validation_data"])
  def test_what_lacks_boxes_is_told_by_count(self, tmp_path, capsys, name):
    self._check(tmp_path, name, cat=5)
    assert capsys.readouterr().err.splitlines() == [
      f"warning: task.{name}.input_path: images without a box: 3 of 7",
      f"warning: task.{name}.input_path: classes without a box: 1 of 2: dog",
    ]

  def test_training_without_a_box_is_told(self, tmp_path, capsys):
    self._check(tmp_path, "train_data")
    told = capsys.readouterr().err
    assert told == "warning: task.train_data.input_path: no box in 7 images\n"

  def test_validation_without_a_box_is_refused(self, tmp_path):
    with pytest.raises(
      ValueError, match=r"task.validation_data.input_path: no box in 7 images; acc"
    ):
      self._check(tmp_path, "validation_data")


def test_every_folder_of_records_has_the_classes_of_the_label_map(tmp_path):
  task = detector.MtlDetection()
  task.label_map = str(tmp_path / "label_map.txt")
  for name in ("first", "second"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "train-0.tfrecord").touch()
    (tmp_path / name / "label_map.txt").write_text("cat\ndog\n")
  task.train_data.input_path = str(tmp_path / "*" / "train-*")
  (tmp_path / "label_map.txt").write_text("cat\ndog\n")
  detection_settings.check_data(task, "train_data")
  for other in ("first", "second"):
    path = tmp_path / other / "label_map.txt"
    path.write_text("dog\ncat\n")
    with pytest.raises(ValueError) as error:
      detection_settings.check_data(task, "train_data")
    assert str(error.value) == (
      f"task.label_map is '{task.label_map}'; accepted: the classes of '{path}', which the records"
      " of task.train_data were written with"
    )
    path.unlink()  # Records without one are taken as they are.


class TestPicturesOfBothSplits:
  def _check(self, tmp_path, capsys, name="validation_data", **paths) -> str:
    task = detector.MtlDetection()
    task.label_map = str(tmp_path / "label_map.txt")
    task.train_data.input_path = str(tmp_path / "train-*")
    task.validation_data.input_path = str(tmp_path / "val-*")
    for field, path in paths.items():
      getattr(task, field).input_path = path
    capsys.readouterr()
    detection_settings.check_data(task, name)
    return capsys.readouterr().err

  @pytest.fixture(autouse=True)
  def _splits(self, tmp_path):
    picture_splits.write(tmp_path, "train", {"a": b"1", "b": b"2"})
    picture_splits.write(tmp_path, "val", {"c": b"2", "d": b"3"})

  def test_they_are_told(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys) == (
      "warning: task.validation_data.input_path: pictures that are in task.train_data too, by"
      " content: 1: 'c' ('b' there); accepted: each picture in one of them, or figures are too"
      " good\n"
    )

  def test_once(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys, "train_data") == ""

  def test_an_evaluation_needs_no_training_data(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys, train_data="/nowhere/train-*") == ""

  def test_nothing_shared(self, tmp_path, capsys):
    picture_splits.write(tmp_path, "val", {"c": b"5"})
    assert self._check(tmp_path, capsys) == ""

  def test_unknown(self, tmp_path, capsys, monkeypatch):
    (tmp_path / "pictures_train.tsv").unlink()
    monkeypatch.setattr(pictures, "MAX_READ_BYTES", 10)
    assert self._check(tmp_path, capsys) == (
      "task.validation_data.input_path: pictures are not compared with task.train_data, as a split"
      " has no list of them; mtl-ssl validate --records TRAIN --records VALIDATION compares them\n"
    )
