"""A detector that starts from a pretraining: its weights, its statistics, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
import yaml

from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.tasks import detection_settings, mtl_detection, pretraining_start
from tests.modeling.pretraining import small
from tests.tasks import insloc_tiny, tiny

BACKBONE = {"type": small.BACKBONE, "norm": {"type": "batch"}}
FROZEN = {**BACKBONE, "norm": {"type": "frozen"}}
SOURCE = "task.init_checkpoint:"


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """Records, and a pretraining run of some steps in `run`."""
  folder = tmp_path_factory.mktemp("start")
  tiny.write_records(folder)
  insloc_tiny.run(folder, "run", {"trainer": {"train_steps": 4}})
  return folder


@pytest.fixture(name="weights", scope="module")
def _weights(folder):
  """The pretraining model with the weights of the run's last checkpoint."""
  task = insloc_tiny.RandomInsLocTask(insloc_tiny.experiment().task)
  model = task.build_model()
  path = tf.train.latest_checkpoint(str(folder / "run"))
  tf.train.Checkpoint(model=model).read(path).expect_partial()
  return model


def _task(folder, **changed) -> mtl_detection.MtlDetectionTask:
  params = tiny.experiment(
    folder,
    {
      "task": {
        "init_checkpoint": str(folder / "run"),
        "backbone": BACKBONE,
        "roi_head": {"crop_size": 3},
        **changed,
      }
    },
  )
  return mtl_detection.MtlDetectionTask(params.task, logging_dir=str(folder / "detector"))


def _named(stage) -> dict[str, np.ndarray]:
  """The weights of a stage by layer and place."""
  return {
    f"{name}/{part}/{leaf}": value.numpy()
    for name, layer in stage.named_layers().items()
    for part, values in (("conv", layer.conv.weights), ("norm", getattr(layer.norm, "weights", [])))
    for leaf, value in enumerate(values)
  }


def _assert_equal(found: dict, expected: dict) -> None:
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)


class TestWeights:
  def test_are_those_of_the_query_encoder(self, folder, weights, capsys):
    task = _task(folder)
    model = task.build_model()
    task.initialize(model)
    stage1, *second = model.stages
    query = weights.query_encoder
    _assert_equal(_named(stage1), _named(query.stage1))
    assert len(second) == 3  # The main one and those of both auxiliary heads.
    for stage in second:
      _assert_equal(_named(stage), _named(query.box_head.stage2))
    # Which are not those of the key encoder.
    keys = _named(weights.key_encoder.stage1)
    assert any(np.any(keys[name] != value) for name, value in _named(stage1).items())
    out = capsys.readouterr().out
    num_loaded = len(_named(query.stage1)) + len(_named(query.box_head.stage2))
    assert f"\nloaded: {num_loaded}\n" in out
    assert "in the file, but not used: 0" in out
    assert "query encoder of a pretraining: stage 1 and stage 2, which the auxiliary second" in out
    assert "frozen norms" not in out
    text = (folder / "detector" / "start_weights.txt").read_text()
    assert "query encoder of a pretraining" in text

  def test_the_first_forward_pass_uses_them(self, folder, weights):
    task = _task(folder)
    model = task.build_model()
    task.initialize(model)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0.0, 255.0, [2, 64, 64, 3]), tf.float32)
    boxes = tf.constant([[[4.0, 8.0, 40.0, 60.0]], [[0.0, 0.0, 64.0, 30.0]]])
    sizes = tf.constant([[64.0, 64.0]] * 2)
    maps = model.first_stage(images, sizes).features
    found = model.box_stage(maps, boxes, sizes).box_features
    expected = weights.query_encoder.box_features(images, boxes, sizes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

  def test_rfcn_takes_both_stages_too(self, folder, weights):
    task = _task(folder, roi_head={"type": "rfcn", "rfcn": {"reduce_depth": 8}})
    model = task.build_model()
    task.initialize(model)
    _assert_equal(_named(model.stage1), _named(weights.query_encoder.stage1))
    _assert_equal(_named(model.box_head.stage2), _named(weights.query_encoder.box_head.stage2))

  def test_random_auxiliary_stages_stay_random(self, folder, capsys):
    task = _task(folder, auxiliary={"init_from": "random"})
    model = task.build_model()
    _, main, *others = (_named(stage) for stage in model.stages)
    task.initialize(model)
    for stage, before in zip(model.stages[2:], others, strict=True):
      _assert_equal(_named(stage), before)
    assert "stage 1 and stage 2; its projection" in capsys.readouterr().out
    del main

  def test_what_a_pretraining_is(self, folder):
    assert pretrained.is_pretraining(str(folder / "run"), SOURCE)
    assert not pretrained.is_pretraining("imagenet", SOURCE)
    assert not pretrained.is_pretraining("efficientnet_lite0", SOURCE)
    assert not pretrained.is_pretraining("net.pth", SOURCE)


class TestFrozenStatistics:
  def test_are_estimated_on_training_images(self, folder, weights, capsys):
    task = _task(folder, backbone=FROZEN, init_statistics_images=10)
    model = task.build_model()
    task.initialize(model)
    pretrained_stage = weights.query_encoder.stage1
    for name, layer in model.stage1.named_layers().items():
      other = pretrained_stage.named_layers()[name]
      np.testing.assert_array_equal(layer.conv.weights[0], other.conv.weights[0])
      np.testing.assert_array_equal(layer.norm.gamma, other.norm.gamma)
      assert np.any(layer.norm.moving_mean.numpy() != other.norm.moving_mean.numpy())
    num_norms = sum(len(stage.named_layers()) for stage in model.stages)
    line = (
      f"statistics of {num_norms} frozen norms: estimated on 16 training images, with their boxes "
      "as regions"
    )
    assert line in capsys.readouterr().out
    assert line in (folder / "detector" / "start_weights.txt").read_text()
    # What comes out of stage 1 is in the range of its activation, not blown up or dead.
    images, labels = next(iter(task.build_inputs(task.task_config.train_data)))
    maps = model.first_stage(images, labels["image_size_px"]).features.numpy()
    assert 0.05 < np.mean(maps) < 3.0

  def test_random_auxiliary_stages_keep_their_own(self, folder):
    task = _task(
      folder, backbone=FROZEN, init_statistics_images=8, auxiliary={"init_from": "random"}
    )
    model = task.build_model()
    others = [_named(stage) for stage in model.stages[2:]]
    task.initialize(model)
    assert len(others) == 2
    for stage, before in zip(model.stages[2:], others, strict=True):
      _assert_equal(_named(stage), before)

  def test_stay_where_none_are_wanted(self, folder, weights, capsys):
    task = _task(folder, backbone=FROZEN, init_statistics_images=0)
    model = task.build_model()
    task.initialize(model)
    _assert_equal(_named(model.stage1), _named(weights.query_encoder.stage1))
    captured = capsys.readouterr()
    assert "task.init_statistics_images is 0: frozen norms keep" in captured.err
    assert "frozen norms:" not in captured.out


class TestRefused:
  @pytest.fixture(name="run")
  def _run(self, tmp_path):
    """The folder of a pretraining of MobileNet, without its weights."""
    params = insloc_tiny.experiment(
      {"task": {"backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125}}}
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.as_dict()))
    (tmp_path / "best").mkdir()
    return tmp_path

  def _message(self, folder, run, backbone) -> str:
    config = tiny.experiment(
      folder, {"task": {"backbone": backbone, "init_checkpoint": str(run)}}
    ).task
    with pytest.raises(ValueError) as error:
      pretraining_start.check(config)
    return str(error.value)

  @pytest.mark.parametrize("inside", ["", "best", "ckpt-4", "best/ckpt-4"])
  def test_another_network(self, folder, run, inside):
    source = f"accepted with task.init_checkpoint '{run / inside}'"
    expected = (
      f"task.backbone.type is 'resnet_50'; {source}: 'mobilenet_v1', as in that pretraining"
    )
    assert self._message(folder, run / inside, {"type": "resnet_50"}) == expected

  def test_another_width_or_form(self, folder, run):
    source = f"accepted with task.init_checkpoint '{run}'"
    message = self._message(folder, run, {"depth_multiplier": 0.5})
    assert message.startswith(f"task.backbone.depth_multiplier is 0.5; {source}: 0.125")
    message = self._message(folder, run, {"fused_stage2": False})
    assert message.startswith("task.backbone.fused_stage2 is False; ")

  def test_another_kind_of_norm(self, folder, run):
    message = self._message(folder, run, {"norm": {"type": "group"}})
    assert message.startswith("task.backbone.norm.type is 'group'; accepted with ")
    assert message.endswith(": frozen, batch, sync, as that pretraining had 'batch'")

  def _pretraining(self, tmp_path, **backbone):
    """The folder of a pretraining with such a backbone, without its weights."""
    fields = insloc_tiny.experiment({"task": {"backbone": backbone}}).as_dict()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(fields))
    return tmp_path

  def test_another_layout(self, folder, tmp_path):
    run = self._pretraining(tmp_path, type="resnet_50", layout="torchvision")
    message = self._message(folder, run, {"type": "resnet_50", "layout": "slim"})
    assert message == (
      f"task.backbone.layout is 'slim'; accepted with task.init_checkpoint '{run}': 'torchvision',"
      " as in that pretraining"
    )

  @pytest.mark.parametrize("norm", ["batch", "frozen"])
  def test_another_norm_than_that_of_groups(self, folder, tmp_path, norm):
    run = self._pretraining(tmp_path, type="mobilenet_v1", norm={"type": "group"})
    backbone = {"type": "mobilenet_v1", "depth_multiplier": 1.0, "norm": {"type": norm}}
    assert self._message(folder, run, backbone) == (
      f"task.backbone.norm.type is '{norm}'; accepted with task.init_checkpoint '{run}': group, as"
      " that pretraining had 'group'"
    )

  def test_a_norm_that_there_is_not(self, folder, tmp_path):
    run = self._pretraining(tmp_path, type="mobilenet_v1")
    file = run / "params.yaml"
    file.write_text(file.read_text().replace("type: batch", "type: layer"))
    assert self._message(folder, run, {"type": "mobilenet_v1", "depth_multiplier": 1.0}) == (
      f"with task.init_checkpoint '{run}': params.yaml there has 'layer' where a pretraining has"
      " the kind of normalisation for task.backbone.norm.type; accepted: none, group, frozen,"
      " batch, sync"
    )

  @pytest.mark.parametrize("backbone", [None, "mobilenet_v1", {"type": "x"}, {"norm": "batch"}])
  def test_a_configuration_that_lacks_its_network(self, folder, tmp_path, backbone):
    fields = {"task": {"queue_size": 8, "backbone": backbone}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(fields))
    assert self._message(folder, tmp_path, {}) == (
      f"with task.init_checkpoint '{tmp_path}': params.yaml there lacks task.backbone and its norm;"
      " accepted: that of a pretraining"
    )

  def test_by_the_start_of_a_run(self, folder):
    backbone = {"type": "mobilenet_v1"}
    override = {"task": {"backbone": backbone, "init_checkpoint": str(folder / "run")}}
    with pytest.raises(ValueError, match=r"task\.backbone\.type is 'mobilenet_v1'; accepted with"):
      detection_settings.check_start(tiny.experiment(folder, override).task)

  def test_fitting_ones_are_not(self, folder, run):
    pretraining_start.check(tiny.experiment(folder, {"task": {"init_checkpoint": str(run)}}).task)
    # What a network does not have plays no part.
    override = {"task": {"backbone": {**BACKBONE, "depth_multiplier": 0.5}}}
    override["task"]["init_checkpoint"] = str(folder / "run")
    detection_settings.check_start(tiny.experiment(folder, override).task)


class TestPyramid:
  """A pretraining on a feature pyramid, and what starts from it."""

  @pytest.fixture(name="folder", scope="class")
  def _folder(self, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyramid")
    tiny.write_records(folder)
    insloc_tiny.run(folder, "run", {"task": small.PYRAMID_CONFIG, "trainer": {"train_steps": 2}})
    return folder

  @pytest.fixture(name="query", scope="class")
  def _query(self, folder):
    task = insloc_tiny.RandomInsLocTask(insloc_tiny.experiment({"task": small.PYRAMID_CONFIG}).task)
    model = task.build_model()
    path = tf.train.latest_checkpoint(str(folder / "run"))
    tf.train.Checkpoint(model=model).read(path).expect_partial()
    return model.query_encoder

  def _fields(self, norm: str = "batch", head_norm: str | None = None, **changed):
    head = {"layers": "4conv1fc", "conv_depth": 5, "dense_depth": 7, "norm": head_norm or norm}
    return {
      "backbone": {"type": small.PYRAMID_BACKBONE, "norm": {"type": norm}},
      "fpn": {"depth": 6, "norm": norm, **changed.pop("fpn", {})},
      "roi_head": {
        "type": "fpn",
        "crop_size": 3,
        "fpn": {**head, **changed.pop("head", {})},
        **changed,
      },
    }

  def _model(self, folder, **fields):
    task = _task(folder, **fields)
    model = task.build_model()
    task.initialize(model)
    return model

  def test_network_pyramid_and_second_stages_are_those_of_the_query_encoder(
    self, folder, query, capsys
  ):
    model = self._model(folder, **self._fields())
    _assert_equal(_named(model.stage1), _named(query.stage1))
    _assert_equal(_named(model.pyramid), _named(query.pyramid))
    assert len(model.second_stages) == 3
    for stage in model.second_stages:
      _assert_equal(_named(stage), _named(query.box_head.stage2))
    out = capsys.readouterr().out
    assert "query encoder of a pretraining: network, pyramid and stage 2, which the" in out
    assert "in the file, but not used: 0" in out

  def test_every_stage_of_a_cascade_starts_alike(self, folder, query):
    cascade = {"enabled": True}
    model = self._model(folder, **self._fields(cascade=cascade, class_agnostic_boxes=True))
    assert len(model.main_heads) == 3
    for head in model.main_heads:
      _assert_equal(_named(head.stage2), _named(query.box_head.stage2))

  def test_fewer_levels(self, folder, query):
    model = self._model(folder, **self._fields(fpn={"min_level": 3}))
    theirs = _named(query.pyramid)
    for name, value in _named(model.pyramid).items():
      np.testing.assert_array_equal(value, theirs[name])

  def test_frozen_norms_get_statistics_of_training_images(self, folder, query, capsys):
    model = self._model(folder, **self._fields("frozen"), init_statistics_images=8)
    pairs = (
      (model.stage1, query.stage1),
      (model.pyramid, query.pyramid),
      (model.box_head.stage2, query.box_head.stage2),
    )
    num_norms = 0
    for stage, other in pairs:
      others = other.named_layers()
      for name, layer in stage.named_layers().items():
        np.testing.assert_array_equal(layer.conv.weights[0], others[name].conv.weights[0])
        if layer.norm is not None:
          num_norms += 1 if stage is not model.box_head.stage2 else 3  # And both auxiliary heads'.
          given = others[name].norm.moving_mean.numpy()
          assert np.any(layer.norm.moving_mean.numpy() != given), name
    assert num_norms == 4 + 8 + 3 * 4
    assert f"statistics of {num_norms} frozen norms: estimated on 8 training" in (
      capsys.readouterr().out
    )

  def test_only_frozen_norms_get_them(self, folder, query):
    fields = self._fields("frozen", fpn={"norm": "batch"}, head_norm="batch")
    model = self._model(folder, **fields, init_statistics_images=8)
    _assert_equal(_named(model.pyramid), _named(query.pyramid))
    _assert_equal(_named(model.box_head.stage2), _named(query.box_head.stage2))
    first, theirs = (stage.named_layers()["map_2"].norm for stage in (model.stage1, query.stage1))
    assert np.any(first.moving_mean.numpy() != theirs.moving_mean.numpy())

  @pytest.mark.parametrize(
    ("changed", "field", "accepted"),
    [
      ({"type": "faster_rcnn"}, "roi_head.type is 'faster_rcnn'", "fpn, as that pretraining was"),
      ({"fpn": {"depth": 8}}, "fpn.depth is 8", "6, as in"),
      ({"head": {"layers": "2fc"}}, "roi_head.fpn.layers is '2fc'", "'4conv1fc', as in"),
      ({"head": {"dense_depth": 9}}, "roi_head.fpn.dense_depth is 9", "7, as in"),
      ({"head": {"conv_depth": 9}}, "roi_head.fpn.conv_depth is 9", "5, as in"),
      ({"crop_size": 5}, "roi_head.crop_size is 5", "3, as in"),
      ({"fpn": {"norm": "none"}}, "fpn.norm is 'none'", "frozen, batch, sync, as that"),
      ({"head": {"norm": "group"}}, "roi_head.fpn.norm is 'group'", "frozen, batch, sync, as"),
    ],
  )
  def test_another_form_is_refused(self, folder, changed, field, accepted):
    config = _task(folder, **self._fields(**changed)).task_config
    with pytest.raises(ValueError) as error:
      pretraining_start.check(config)
    source = f"accepted with task.init_checkpoint '{folder / 'run'}'"
    assert str(error.value).startswith(f"task.{field}; {source}: {accepted}")

  @pytest.mark.parametrize(
    ("theirs", "fields", "refused"),
    [
      ({"fpn": {"norm": "none"}}, {"fpn": {"norm": "none"}}, None),
      ({"fpn": {"norm": "none"}}, {}, "fpn.norm"),
      ({"fpn_head": {"norm": "none"}}, {"head": {"norm": "none"}}, None),
      ({"fpn_head": {"norm": "none"}}, {}, "roi_head.fpn.norm"),
      ({"fpn_head": {"norm": "none"}}, {"fpn": {"norm": "none"}}, "fpn.norm"),
    ],
  )
  def test_each_place_has_its_own_norm(self, folder, tmp_path, theirs, fields, refused):
    params = insloc_tiny.experiment({"task": small.PYRAMID_CONFIG})
    params.override({"task": theirs}, is_strict=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.as_dict()))
    config = _task(folder, **self._fields(**fields)).task_config
    config.init_checkpoint = str(tmp_path)
    if refused is None:
      pretraining_start.check(config)
    else:
      with pytest.raises(ValueError, match=rf"^task\.{refused} is "):
        pretraining_start.check(config)

  def test_finer_levels_than_were_pretrained_are_refused(self, folder, tmp_path):
    text = (folder / "run" / "params.yaml").read_text()
    assert text.count("min_level: 2") == 1
    (tmp_path / "params.yaml").write_text(text.replace("min_level: 2", "min_level: 3"))
    config = _task(folder, **self._fields()).task_config
    config.init_checkpoint = str(tmp_path)
    with pytest.raises(ValueError, match=r"task.fpn.min_level is 2; accepted .*: from 3 on, the"):
      pretraining_start.check(config)


def test_a_pretraining_with_one_map_does_not_start_a_pyramid(folder):
  fields = {"backbone": BACKBONE, "roi_head": {"type": "fpn"}}
  with pytest.raises(ValueError, match=r"roi_head.type is 'fpn'; accepted .*: faster_rcnn, rfcn,"):
    pretraining_start.check(_task(folder, **fields).task_config)


def test_a_layout_comes_with_the_weights(folder, tmp_path):
  text = (folder / "run" / "params.yaml").read_text()
  (tmp_path / "params.yaml").write_text(text)
  assert "layout: torchvision" in text
  config = tiny.experiment(folder, {"task": {"backbone": {"type": "resnet_50"}}}).task
  detection_settings.start_from(config, str(tmp_path))
  assert config.backbone.layout == "torchvision"
  (tmp_path / "best").mkdir()
  for weights in (tmp_path, f"{tmp_path}/", f"{tmp_path}/best/", f"{tmp_path}/best/ckpt-4"):
    task = pretraining_start.pretraining_task(str(weights))
    assert task["backbone"]["layout"] == "torchvision", weights
  assert pretraining_start.pretraining_task("") is None
  # Of a detector's run, nothing does.
  (tmp_path / "params.yaml").write_text("task: {backbone: {layout: keras}}")
  assert pretraining_start.pretraining_task(str(tmp_path)) is None
