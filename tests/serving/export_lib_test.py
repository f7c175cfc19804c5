"""Tests of export_lib.py: what it takes from a run's folder, and what it leaves behind."""

import dataclasses
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from tensorflow_serving.apis import prediction_log_pb2

from mtl_ssl_tf.checkpoints import pretrained
from mtl_ssl_tf.configs import optimization
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.serving import export_lib, score_thresholds, verification
from mtl_ssl_tf.training import averaged_weights
from tests import fixtures
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="run")
def _run(tiny_run, tmp_path):
  """A copy of the tiny run, which a test may change."""
  shutil.copytree(tiny_run, tmp_path / "run")
  return tmp_path / "run"


def _error(run, *, checkpoint=None) -> str:
  """The message on a run that cannot be exported: one line, and nothing written."""
  target = run.parent / "exported"
  with pytest.raises(ValueError) as caught:
    export_lib.export_run(str(run), str(target), checkpoint=checkpoint)
  assert not target.exists()
  message = str(caught.value)
  assert "\n" not in message
  return message.replace(str(run.parent), "")


class TestCheckpoint:
  def test_the_best_comes_first(self, run):
    found = export_lib.read_run(str(run))
    assert found.checkpoint == str(run / "best" / "best_ckpt-1")
    assert (found.choice, found.step) == ("best", tiny_run_lib.BEST_STEP)
    assert found.class_names == tiny_run_lib.CLASS_NAMES

  def test_then_the_latest(self, run):
    shutil.rmtree(run / "best")
    found = export_lib.read_run(str(run))
    assert found.checkpoint == str(run / "ckpt-10")
    assert (found.choice, found.step) == ("latest", tiny_run_lib.LATEST_STEP)

  @pytest.mark.parametrize("given", ["ckpt-10", ""])
  def test_or_the_one_given(self, run, given):
    found = export_lib.read_run(str(run), os.path.join(run, given))
    assert found.checkpoint == str(run / "ckpt-10")
    assert (found.choice, found.step) == ("given", tiny_run_lib.LATEST_STEP)

  def test_averaged_weights(self, run):
    assert not export_lib.read_run(str(run)).is_averaged
    params = tiny_run_lib.params(run)
    model = factory.build_detector(params.task, len(tiny_run_lib.CLASS_NAMES) + 1)
    kernel = model.trainable_variables[0]
    averages = averaged_weights.AveragedWeights(optimization.AveragesConfig(), model)
    evaluated = kernel.numpy()
    kernel.assign(kernel + 1.0)
    path = averaged_weights.Checkpoint(averages, model=model).write(str(run / "weights"))
    found = export_lib.read_run(str(run), path)
    assert found.is_averaged
    # The detector is the one that was evaluated.
    np.testing.assert_array_equal(export_lib.build_model(found).trainable_variables[0], evaluated)
    # Another run starts from it too, and reports nothing as left over.
    model.trainable_variables[0].assign(kernel + 1.0)
    report = pretrained.load(model, path, "--init")
    np.testing.assert_array_equal(kernel, evaluated)
    assert report.unused == report.missing == []

  def test_without_a_step(self, run):
    path = tf.train.Checkpoint(model=tf.Module()).write(str(run / "weights"))
    assert export_lib.read_run(str(run), path).step is None

  @pytest.mark.parametrize("given", ["ckpt-11", "best/best_ckpt-1.index", "train"])
  def test_given_one_is_missing(self, run, given):
    (run / "train").mkdir()
    assert _error(run, checkpoint=str(run / given)) == (
      f"--checkpoint '/run/{given}' is no checkpoint; accepted: a path without ending such as"
      " '/run/ckpt-1000', or a folder with checkpoints"
    )

  def test_none_at_all(self, run):
    shutil.rmtree(run / "best")
    for file in run.glob("ckpt-*"):
      file.unlink()
    assert _error(run) == "--model_dir '/run' holds no checkpoint; accepted: that of a training run"

  def test_the_newest_where_the_best_is_damaged(self, run, capsys):
    path = run / "best" / "best_ckpt-1.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:10_000])
    found = export_lib.read_run(str(run))
    assert (found.checkpoint, found.choice) == (str(run / "ckpt-10"), "latest")
    damaged, instead = capsys.readouterr().err.splitlines()
    assert damaged.startswith(f"warning: checkpoint {run}/best/best_ckpt-1 is left out, as it ")
    assert instead.endswith(f"; {run}/ckpt-10 is taken, the newest")

  def test_given_one_is_damaged(self, run):
    (run / "best" / "best_ckpt-1.index").write_bytes(b"nothing")
    assert _error(run, checkpoint=str(run / "best" / "best_ckpt-1")).startswith(
      "--checkpoint '/run/best/best_ckpt-1' cannot be used, as it cannot be read ("
    )

  def test_without_the_file_that_lists_them(self, run):
    shutil.rmtree(run / "best")
    (run / "checkpoint").unlink()
    assert export_lib.read_run(str(run)).checkpoint == str(run / "ckpt-10")

  @pytest.mark.parametrize("lines", ["disc\nring\n", "a\nb\nc\nd\n"])
  def test_of_other_classes(self, run, lines):
    (run / "label_map.txt").write_text(lines)
    assert _error(run).startswith(
      "checkpoint '/run/best/best_ckpt-1' does not fit the detector of params.yaml and"
      " label_map.txt ("
    )

  @pytest.mark.parametrize(
    "error", [tf.errors.DataLossError(None, None, ""), AssertionError(), ValueError(), KeyError()]
  )
  def test_whatever_is_wrong_with_its_weights(self, tiny_run, monkeypatch, error):
    def read(checkpoint, path):
      raise type(error)(*([None] * 2 if isinstance(error, tf.errors.OpError) else []), "a\nb")

    monkeypatch.setattr(export_lib.factory, "build_detector", lambda *args: tf.Module())
    monkeypatch.setattr(tf.train.Checkpoint, "read", read)
    with pytest.raises(
      ValueError, match=r"does not fit the detector of params\.yaml and label_map"
    ):
      export_lib.build_model(export_lib.read_run(str(tiny_run)))

  def test_of_another_architecture(self, run):
    text = (run / "params.yaml").read_text()
    (run / "params.yaml").write_text(text.replace("head: conv1x1", "head: conv3x3"))
    assert "does not fit the detector" in _error(run)


class TestFolder:
  def test_no_folder(self, tmp_path):
    assert (
      _error(tmp_path / "run")
      == "--model_dir '/run' is no folder; accepted: that of a training run"
    )

  @pytest.mark.parametrize("name", ["params.yaml", "label_map.txt"])
  def test_missing_file(self, run, name):
    (run / name).unlink()
    assert _error(run) == f"--model_dir '/run' holds no {name}; accepted: that of a training run"

  def test_unusable_label_map(self, run):
    (run / "label_map.txt").write_text("disc\n\nring\n")
    assert _error(run).startswith("/run/label_map.txt: line 2: ''; accepted")

  @pytest.mark.parametrize(
    ("text", "message"),
    [
      ("task: {", "/run/params.yaml: not YAML ("),
      ("", "/run/params.yaml: the whole is None; accepted: a mapping"),
      ("task: {anker: 1}", "/run/params.yaml: unknown field 'task.anker'; the nearest is"),
      ("task: {label_map: a, rpn: {depth: 0}}", "task.rpn.depth is 0; accepted: 1 to 65,536"),
      # A field of an earlier version stands in the way of nothing.
      (
        "task: {label_map: a, rpn: {depth: 0}, train_data: {use_difficult: true}}",
        "task.rpn.depth is 0; accepted: 1 to 65,536",
      ),
    ],
  )
  def test_unusable_params(self, run, text, message):
    (run / "params.yaml").write_text(text)
    assert _error(run).startswith(message)

  def test_params_in_no_encoding(self, run):
    (run / "params.yaml").write_bytes(b"\xff")
    assert _error(run).startswith("/run/params.yaml: cannot be read (no UTF-8 text)")


class _Module(tf.Module):
  """Instead of a detector, where only files matter."""

  def signatures(self):
    return {}


def _report(score: float) -> verification.Comparison:
  return verification.Comparison(3, 0.0, 0.0, score, 0, "mAP", 0.5, 0.5)


@pytest.fixture(name="light")
def _light(monkeypatch):
  """Exports without a detector, whose verification succeeds; returns the options of its calls."""
  calls = []
  monkeypatch.setattr(export_lib, "build_model", lambda run: "model")
  monkeypatch.setattr(export_lib, "build_module", lambda *args: _Module())
  monkeypatch.setattr(
    verification, "verify", lambda *args, **kwargs: calls.append(kwargs) or _report(1e-6)
  )
  return calls


class TestVersions:
  def test_one_after_the_other(self, tiny_run, tmp_path, light):
    target = tmp_path / "exports" / "tiny"
    for version in (1, 2):
      path = export_lib.export_run(str(tiny_run), str(target))
      assert path == str(target / str(version))
      (target / "models.config").write_text("mine")
    assert sorted(os.listdir(target)) == ["1", "2", "batching_parameters.txt", "models.config"]
    assert (target / "models.config").read_text() == "mine"
    card = (target / "2" / "model_card.md").read_text()
    assert card.startswith("# tiny, version 2\n")
    assert "Compared before it was published: export and checkpoint on 3 images" in card
    assert [call["num_images"] for call in light] == [20, 20]

  def test_figures_of_the_best_checkpoint_are_on_the_card(self, run, tmp_path, light):
    (run / "best").rename(run / "kept")
    params = (run / "params.yaml").read_text()
    default = "best_checkpoint_export_subdir: best\n"
    assert default in params
    (run / "params.yaml").write_text(params.replace(default, default.replace("best\n", "kept\n")))
    info = {"voc/mAP50_area": 0.5, "best_ckpt_global_step": tiny_run_lib.BEST_STEP}
    (run / "kept" / "info.json").write_text(json.dumps(info))
    version = export_lib.export_run(str(run), str(tmp_path / "e"))
    card = pathlib.Path(version, "model_card.md").read_text()
    assert "- checkpoint: `best_ckpt-1` (best)" in card
    assert "| voc/mAP50_area | 0.5000 |" in card

  def test_averaged_weights_are_named(self, run, tmp_path, light, capsys):
    model = tf.Module()
    model.w = tf.Variable(1.0)
    averages = averaged_weights.AveragedWeights(optimization.AveragesConfig(), model)
    path = averaged_weights.Checkpoint(averages, model=model).write(str(run / "weights"))
    target = tmp_path / "tiny"
    export_lib.export_run(str(run), str(target), checkpoint=path)
    assert f"checkpoint: {path} (given, averaged weights)\n" in capsys.readouterr().err
    assert "- averaged: " in (target / "1" / "model_card.md").read_text()

  def test_a_failure_leaves_nothing_new(self, tiny_run, tmp_path, light, monkeypatch):
    target = tmp_path / "export"
    export_lib.export_run(str(tiny_run), str(target))
    before = sorted(target.rglob("*"))

    def fail(module, folder, signatures):
      os.makedirs(folder)
      pathlib.Path(folder, "saved_model.pb").write_text("half")
      raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    for name, options in (
      ("export", export_lib.Options(version=1, overwrite=True)),
      ("other", export_lib.Options()),
    ):
      with pytest.raises(OSError, match="disk full"):
        export_lib.export_run(str(tiny_run), str(tmp_path / name), options=options)
    assert os.listdir(tmp_path) == ["export"]
    assert sorted(target.rglob("*")) == before

  def test_the_run_itself_is_safe(self, run):
    with pytest.raises(ValueError, match="holds more than versions"):
      export_lib.export_run(str(run), str(run))

  @pytest.mark.parametrize("number", [0, -1])
  @pytest.mark.parametrize("flag", ["batch_size", "verify_images"])
  def test_unusable_numbers(self, tiny_run, tmp_path, flag, number):
    with pytest.raises(ValueError, match=f"^--{flag} is {number}; accepted: at least 1$"):
      export_lib.export_run(
        str(tiny_run), str(tmp_path / "e"), options=export_lib.Options(**{flag: number})
      )

  def test_the_name_is_that_of_the_folder_however_it_is_written(
    self, tiny_run, tmp_path, light, monkeypatch
  ):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path / "tiny")
    for number, written in enumerate((f"{tmp_path}/tiny/", "."), start=1):
      assert export_lib.export_run(str(tiny_run), written) == str(tmp_path / "tiny" / str(number))
      card = (tmp_path / "tiny" / str(number) / "model_card.md").read_text()
      assert card.startswith(f"# tiny, version {number}\n")

  def test_options_reach_the_module(self, tiny_run, monkeypatch):
    made = []
    monkeypatch.setattr(
      export_lib.detection_module, "DetectionModule", lambda *args, **kwargs: made.append(kwargs)
    )
    run = export_lib.read_run(str(tiny_run))
    export_lib.build_module(run, "model", export_lib.Options(batch_size=2, raw_outputs=True))
    assert (made[0]["batch_size"], made[0]["raw_outputs"]) == (2, True)
    assert not made[0]["padded_signature"]
    asked = []
    monkeypatch.setattr(
      export_lib.factory, "build_detector", lambda *args: asked.append(args[2]) or tf.Module()
    )
    export_lib.build_module(run, None, export_lib.Options(crop_method="matmul"))
    assert asked == ["matmul"]
    assert made[1]["padded_signature"]

  def test_options_reach_verification_and_card(self, tiny_run, tmp_path, light):
    options = export_lib.Options(version=7, batch_size=2, verify_images=5, license="Of its owner.")
    version = export_lib.export_run(str(tiny_run), str(tmp_path / "e"), options=options)
    assert version == str(tmp_path / "e" / "7")
    assert light == [{"num_images": 5, "batch_size": 2}]
    card = pathlib.Path(version, "model_card.md").read_text()
    assert card.startswith("# e, version 7\n")
    assert "; 2 images in a request. " in card
    assert "## Licence\n\nOf its owner.\n" in card
    other = export_lib.export_run(str(tiny_run), str(tmp_path / "e"))
    card = pathlib.Path(other, "model_card.md").read_text()
    assert "; any number of images in a request. " in card
    assert f"## Licence\n\n{export_lib.model_card.UNKNOWN_LICENSE}\n" in card

  def test_warmup_is_with_a_few_sizes_of_the_evaluation_data(self, run):
    sizes = [(30, 20), (10, 50), (30, 20), (20, 20), (40, 20), (60, 20)]
    records = [fixtures.serialized_example(fixtures.solid_image(*size)) for size in sizes]
    fixtures.write_records(run / "records.tfrecord", records)
    found = export_lib.read_run(str(run))
    found.task.validation_data.input_path = str(run / "records.tfrecord")
    data = found.task.validation_data
    assert verification.image_sizes(data, 5) == [(30, 20), (10, 50), (20, 20), (40, 20)]
    assert verification.image_sizes(data, 1) == [(30, 20)]
    assert export_lib._warmup_sizes(found, True) == [(30, 20), (10, 50), (20, 20)]
    assert export_lib._warmup_sizes(found, False) == [(128, 160)]

  @pytest.mark.parametrize(("crop_method", "given"), [("native", "model"), ("matmul", None)])
  def test_other_kernels_have_a_detector_of_their_own(
    self, tiny_run, tmp_path, light, monkeypatch, crop_method, given
  ):
    """The checkpoint that an export is compared with keeps the kernels of evaluation."""
    models = []
    monkeypatch.setattr(
      export_lib, "build_module", lambda run, model, options: models.append(model) or _Module()
    )
    options = export_lib.Options(crop_method=crop_method)
    export_lib.export_run(str(tiny_run), str(tmp_path / "e"), options=options)
    assert models == [given]

  def test_one_batch_size_is_that_of_verification_and_warmup(self, tiny_run, tmp_path, light):
    options = export_lib.Options(batch_size=3)
    version = export_lib.export_run(str(tiny_run), str(tmp_path / "e"), options=options)
    assert [call["batch_size"] for call in light] == [3]
    assert "allowed_batch_sizes: 3\n" in (tmp_path / "e/batching_parameters.txt").read_text()
    path = os.path.join(version, "assets.extra", "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(path):
      request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
      for value in request.inputs.values():
        assert tf.make_ndarray(value).shape[0] == 3

  def test_two_input_sizes_become_the_square_of_both(self, run, tmp_path, light, monkeypatch):
    params = yaml.safe_load((run / "params.yaml").read_text())
    params["task"]["validation_data"].update(input_layout="by_orientation", short_side=140)
    (run / "params.yaml").write_text(yaml.safe_dump(params))
    version = export_lib.export_run(str(run), str(tmp_path / "e"))
    card = pathlib.Path(version, "model_card.md").read_text()
    # In an input of 128 × 160 no short side was longer than 128.
    limits = "a short side of 128 pixels, a long one of at most 160, and padded to 160 x 160."
    assert limits in card
    monkeypatch.undo()
    made = []
    monkeypatch.setattr(
      export_lib.detection_module, "DetectionModule", lambda *args, **kwargs: made.append(kwargs)
    )
    export_lib.build_module(export_lib.read_run(str(run)), "model")
    assert made[0]["input_size"] == (160, 160)
    assert (made[0]["short_side"], made[0]["long_side"]) == (128, 160)


class TestDefaultThresholds:
  def _write(self, tmp_path, **fields):
    thresholds = dict.fromkeys(tiny_run_lib.CLASS_NAMES, 0.25)
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"score_thresholds": thresholds, **fields}))
    return str(path)

  def _export(self, tiny_run, tmp_path, path):
    options = export_lib.Options(default_thresholds=path)
    return pathlib.Path(export_lib.export_run(str(tiny_run), str(tmp_path / "e"), options=options))

  def test_lie_in_the_export_and_on_its_card(self, tiny_run, tmp_path, light, capsys):
    path = self._write(tmp_path, step=tiny_run_lib.BEST_STEP)
    version = self._export(tiny_run, tmp_path, path)
    found = score_thresholds.of_export(version, tiny_run_lib.CLASS_NAMES)
    assert found == dict.fromkeys(tiny_run_lib.CLASS_NAMES, 0.25)
    assert "| größe | 0.25 |" in (version / "model_card.md").read_text()
    assert "warning" not in capsys.readouterr().err
    without = pathlib.Path(export_lib.export_run(str(tiny_run), str(tmp_path / "e")))
    assert score_thresholds.of_export(without, tiny_run_lib.CLASS_NAMES) is None
    assert os.listdir(without / "assets.extra") == ["tf_serving_warmup_requests"]

  def test_of_another_checkpoint(self, tiny_run, tmp_path, light, capsys):
    path = self._write(tmp_path, step=7)
    self._export(tiny_run, tmp_path, path)
    line = f"warning: --default_thresholds {path} was measured at step 7, the checkpoint is of 5"
    assert line in capsys.readouterr().err.splitlines()

  @pytest.mark.parametrize(("measured", "exported"), [(None, 5), (5, None), (None, None)])
  def test_where_a_step_is_not_known(self, tiny_run, tmp_path, capsys, measured, exported):
    path = self._write(tmp_path, **({} if measured is None else {"step": measured}))
    run = dataclasses.replace(export_lib.read_run(str(tiny_run)), step=exported)
    found = export_lib._read_thresholds(run, path)
    assert found == dict.fromkeys(tiny_run_lib.CLASS_NAMES, 0.25)
    assert capsys.readouterr().err == ""

  def test_lie_in_an_export_without_files_for_a_server(
    self, tiny_run, tmp_path, light, monkeypatch
  ):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    version = self._export(tiny_run, tmp_path, self._write(tmp_path))
    assert os.listdir(version / "assets.extra") == [score_thresholds.FILE]

  def test_of_other_classes(self, tiny_run, tmp_path, light):
    path = self._write(tmp_path)
    pathlib.Path(path).write_text('{"score_thresholds": {"disc": 0.5}}')
    with pytest.raises(ValueError, match=r"^--default_thresholds .* has no class 'ring'; accepted"):
      self._export(tiny_run, tmp_path, path)
    assert not (tmp_path / "e").exists()


class TestVerification:
  def test_what_differs_is_not_published(self, tiny_run, tmp_path, light, monkeypatch, capsys):
    monkeypatch.setattr(verification, "verify", lambda *args, **kwargs: _report(0.1))
    with pytest.raises(ValueError, match="differs from its checkpoint and is not published: ex"):
      export_lib.export_run(str(tiny_run), str(tmp_path / "new" / "e"))
    assert os.listdir(tmp_path) == []
    assert "largest difference 0 px, score 0.1" in capsys.readouterr().err.splitlines()[-1]

  def test_not_asked_for(self, tiny_run, tmp_path, light, capsys):
    options = export_lib.Options(verify=False)
    version = export_lib.export_run(str(tiny_run), str(tmp_path / "e"), options=options)
    assert light == []
    assert capsys.readouterr().err.splitlines()[1:] == [
      "export not compared with the checkpoint (--no-verify)",
      f"SavedModel: {version} (classes: 3)",
    ]
    card = pathlib.Path(version, "model_card.md").read_text()
    assert "The export was not compared with the checkpoint (--no-verify)." in card

  def test_without_data(self, run, tmp_path, light, capsys):
    text = (run / "params.yaml").read_text()
    (run / "params.yaml").write_text(text.replace("records.tfrecord", "gone.tfrecord"))
    target = tmp_path / "e"
    with pytest.raises(ValueError, match=r"^--verify: no records at task\.validation_data\.input"):
      export_lib.export_run(str(run), str(target), options=export_lib.Options(verify=True))
    version = export_lib.export_run(str(run), str(target))
    assert light == []
    line = "export not compared with the checkpoint (no evaluation data available)"
    assert capsys.readouterr().err.splitlines()[1] == line
    # Images to warm up with are as large as the input then.
    path = os.path.join(version, "assets.extra", "tf_serving_warmup_requests")
    assert len(list(tf.data.TFRecordDataset(path))) == len(tiny_run_lib.SIGNATURES)
    # Where both are so, what was asked for is the reason.
    options = export_lib.Options(verify=False)
    version = export_lib.export_run(str(run), str(target), options=options)
    assert "checkpoint (--no-verify)." in pathlib.Path(version, "model_card.md").read_text()
