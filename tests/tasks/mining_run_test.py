"""A tiny run of Co-mining as a user sees it; erased objects are measured by and change nothing."""

import re
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.tasks import co_mining, mining_measures
from mtl_ssl_tf.training import determinism, driver, stopping
from mtl_ssl_tf.visualization import curves, draw
from tests import terminal_lines
from tests.modeling import small, small_backbones
from tests.tasks import tiny

# A new network is sure of nothing: whatever is more probable than the background is mined, in
# as many slots as there are rows. Group norms mine the same for pictures as in a step.
MINING = {
  "backbone": {"norm": {"type": "group"}},
  "mining": {"score_threshold": 0.0, "num_slots": 4, "guard": {"steps": 0}},
}


# The least that mines, for whole runs, with random weights.
SMALL = {
  "backbone": {"type": "blocks"},
  "auxiliary": {name: {"loss_weight": 0.0} for name in ("multi_object", "closeness", "foreground")},
  "refinement": {"enabled": False},
}


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


@pytest.fixture(name="sure")
def _sure():
  """Detectors to which some places are objects."""
  build = co_mining.CoMiningTask.build_model

  def build_random(task):
    model = build(task)
    small.randomize(model)
    return model

  with mock.patch.object(co_mining.CoMiningTask, "build_model", build_random):
    yield


def experiment(folder, override=None):
  path = folder / "tiny.yaml"
  path.write_text(yaml.safe_dump(tiny.settings(folder)))
  again = folder / "mining.yaml"
  again.write_text(yaml.safe_dump({"task": MINING}))
  files = [str(path), str(again)]
  return driver.load_experiment("mtl_frcnn_co_mining", files, yaml.safe_dump(override or {}))


@pytest.fixture(name="sparse", scope="module")
def _sparse(tmp_path_factory):
  """A folder as `tiny.write_records` makes it, in which each training image lost its dog."""
  folder = tmp_path_factory.mktemp("sparse")
  tiny.write_records(folder)
  path = str(folder / "train.tfrecord")
  examples = [
    tf.train.Example.FromString(record)
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
  ]
  with tf.io.TFRecordWriter(path) as writer:
    for example in examples:
      features = example.features.feature
      for name in (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX):
        erased = name.replace(schema.OBJECT_PREFIX, schema.ERASED_PREFIX)
        features[erased].float_list.value.append(features[name].float_list.value.pop())
      features[schema.ERASED_LABEL].int64_list.value.append(
        features[schema.OBJECT_LABEL].int64_list.value.pop()
      )
      writer.write(example.SerializeToString())
  return folder


class Step:
  """Steps of new detectors from the same weights."""

  def __init__(self, folder):
    self._params = experiment(folder)
    self.task = co_mining.CoMiningTask(self._params.task)
    self.batch = next(iter(self.task.build_inputs(self._params.task.train_data)))
    self.model = self.task.build_model()
    self._before = self.model.get_weights()

  def mined(self):
    """Boxes that the new detector mines in the first view of the batch."""
    views = self.task.mined_views(self.model, self.batch, tf.constant(0))
    num_images = len(self.batch[0])
    return tf.nest.map_structure(lambda values: values[:num_images], views.pseudo)

  def take(self, labels) -> tuple[dict[str, float], list[np.ndarray]]:
    """Takes a step with other labels; returns its logs and the weights after it."""
    self.model.set_weights(self._before)
    optimizer = self.task.create_optimizer(
      self._params.trainer.optimizer_config, self._params.runtime
    )
    logs = self.task.train_step((self.batch[0], labels), self.model, optimizer)
    return {name: float(value) for name, value in logs.items()}, self.model.get_weights()


@pytest.mark.slow
def test_erased_objects_change_no_loss_and_no_weight(sparse):
  step = Step(sparse)
  labels = step.batch[1]
  assert labels["erased_classes"].numpy().tolist() == [[2, -1, -1, -1]] * 2
  mined = step.mined()
  num_rows = labels["erased_classes"].shape[1]
  assert mined.valid.numpy()[:, :num_rows].any()
  variants = {
    "as recorded": labels,
    "as mined": labels
    | {
      "erased_boxes_px": mined.boxes_px[:, :num_rows],
      "erased_classes": mined.classes[:, :num_rows],
    },
    "none": labels | {"erased_classes": tf.fill([2, num_rows], -1)},
  }
  # Or several threads would add up gradients in another order each time.
  with determinism.deterministic(True):
    results = {name: step.take(variant) for name, variant in variants.items()}
  logs, weights = results["as recorded"]
  assert logs["mining/boxes"] > 0.5
  for other_logs, other_weights in results.values():
    for name, value in logs.items():
      if name not in (mining_measures.ERASED, mining_measures.PRECISION, mining_measures.RECALL):
        assert other_logs[name] == value, name
    for one, two in zip(weights, other_weights, strict=True):
      np.testing.assert_array_equal(one, two)
  # What was mined in the image itself is found; the copy mines nearly the same.
  assert results["as mined"][0]["mining/precision"] > 0.5
  assert results["none"][0]["mining/precision"] == results["none"][0]["mining/erased"] == 0.0
  assert logs["mining/erased"] == 1.0


@pytest.mark.slow
@pytest.mark.usefixtures("sure")
def test_a_run_tells_and_draws_what_it_mines(sparse, tmp_path, monkeypatch, capsys):
  drawn = []

  def panel(image, *args, mined_views, **others):
    drawn.append((image, mined_views))
    return np.zeros([4, 4, 3], np.uint8)

  monkeypatch.setattr(draw, "training_panel", panel)
  task = {**SMALL, "pictures": {"interval": 4, "num_images": 2}}
  params = experiment(sparse, {"task": task, "trainer": {"train_steps": 4}})
  driver.run(params, "train", str(tmp_path / "run"))
  printed = capsys.readouterr().out
  assert not terminal_lines.foreign(printed, *terminal_lines.TRAINING)
  (line, *_) = [line for line in printed.splitlines() if line.startswith("step ")]
  assert re.search(
    r"\) \| mined [\d.]+ a view \(score [\d.]+; finds \d+ % of the annotated; views"
    r" agree \d+ %; dropped: NMS ",
    line,
  )
  assert "of 1.0 erased: precision" in line
  # Nothing of mining stands among the losses.
  assert "mining/" not in line
  scalars = curves.read_scalars(str(tmp_path / "run"))
  for name in mining_measures.OF_MINING:
    steps, values = scalars[f"train/{name}"]
    assert list(steps) == [2, 4]
    assert np.isfinite(values).all()
  assert scalars["train/mining/boxes"][1][0] > 0.0
  assert len(drawn) == 2
  for image, views in drawn:
    assert [view.caption for view in views] == [
      "mined in the image (dashed)",
      "mined in its copy (dashed)",
    ]
    np.testing.assert_array_equal(views[0].image, image)
    assert views[1].image.shape == image.shape
    assert all((view.classes >= 1).sum() == (view.scores > 0.0).sum() for view in views)
  # With probability 0.8 a copy has other colours.
  assert any(np.abs(views[1].image - views[0].image.astype(int)).max() > 5 for _, views in drawn)


@pytest.mark.slow
@pytest.mark.usefixtures("sure")
def test_a_run_that_mines_too_much_ends_with_one_line(sparse, tmp_path):
  # It does not learn to mine less.
  no_rate = {"learning_rate": {"constant": {"learning_rate": 0.0}}}
  mining = {"guard": {"steps": 2, "max_filled": 0.01}}
  override = {
    "task": {**SMALL, "mining": mining, "pictures": {"interval": 0}},
    "trainer": {"train_steps": 6, "optimizer_config": no_rate},
  }
  with pytest.raises(stopping.RunError) as error:
    driver.run(experiment(sparse, override), "train", str(tmp_path / "run"))
  assert re.fullmatch(
    r"step 4: for 2 steps [\d.]+ boxes are mined in a view of 4 slots; accepted: at most 0\.04 "
    r"\(task\.mining\.guard\.max_filled\); raise task\.mining\.score_threshold \(0\): .+",
    str(error.value),
  )


def test_records_without_erased_objects_have_no_measures_of_them(folder):
  task = co_mining.CoMiningTask(experiment(folder).task)
  names = {metric.name for metric in task.build_metrics()}
  assert mining_measures.BOXES in names
  assert not names & {mining_measures.ERASED, mining_measures.PRECISION, mining_measures.RECALL}
  assert not set(mining_measures.ERASED_LABELS) & set(
    next(iter(task.build_inputs(task.task_config.train_data)))[1]
  )


def test_composed_images_have_no_measures_of_erased_objects(sparse):
  composed = [
    {"task": {"train_data": {"augmentation": {name: 0.5}}}} for name in ("mosaic", "copy_paste")
  ]
  for override, expected in ((None, True), *((one, False) for one in composed)):
    task = co_mining.CoMiningTask(experiment(sparse, override).task)
    names = {metric.name for metric in task.build_metrics()}
    assert (mining_measures.RECALL in names) == expected


def test_a_missing_record_file_is_left_to_those_who_read_it(sparse):
  override = {"task": {"train_data": {"input_path": "/nowhere/x-*"}}}
  task = co_mining.CoMiningTask(experiment(sparse, override).task)
  assert mining_measures.RECALL not in {metric.name for metric in task.build_metrics()}
