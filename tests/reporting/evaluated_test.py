"""Where detections come from: the run's own results, an earlier report, or an evaluation."""

import dataclasses
import json
import os

import pytest

from mtl_ssl_tf.reporting import evaluated
from mtl_ssl_tf.serving import export_lib
from tests.reporting import made_up


@pytest.fixture(name="run")
def _run(sources, tmp_path):
  """A run whose evaluation of step 10 has left its results in `results`, and noted its figures."""
  folder = tmp_path / "results" / "step_10"
  folder.mkdir(parents=True)
  for path in sources[0].folder.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  (folder / "figures.json").write_text('{"voc/mAP50_area": 0.5, "voc/AP50_area/owl": null}')
  noted = {"step": 10, "voc/mAP50_area": 0.5, "voc/AP50_area/owl": None, "auxiliary/x": 1.0}
  (tmp_path / "evaluation-10.json").write_text(json.dumps(noted))
  task = sources[0].run.task
  task = task.replace(evaluation=task.evaluation.replace(results_dir=str(tmp_path / "results")))
  return dataclasses.replace(sources[0].run, task=task)


class TestStoredResults:
  def test_of_the_run_s_own_evaluation(self, run, tmp_path, sources):
    folder = evaluated.stored_results(run, tmp_path)
    assert folder == tmp_path / "results" / "step_10"
    found = evaluated.read(str(tmp_path), run, "records", folder)
    assert evaluated.same_images(found.truth, sources[0].truth)
    assert [one.scores.tolist() for one in found.found] == [
      one.scores.tolist() for one in sources[0].found
    ]

  @pytest.mark.parametrize("change", ["step", "no step", "no folder", "figures", "file", "noted"])
  def test_not_where_they_are_of_something_else(self, run, tmp_path, change):
    if change == "step":
      run = dataclasses.replace(run, step=11)
    elif change == "no step":
      run = dataclasses.replace(run, step=None)
    elif change == "no folder":
      evaluation = run.task.evaluation.replace(results_dir="")
      run = dataclasses.replace(run, task=run.task.replace(evaluation=evaluation))
    elif change == "figures":
      (tmp_path / "results" / "step_10" / "figures.json").write_text('{"voc/mAP50_area": 0.6}')
    elif change == "file":
      (tmp_path / "results" / "step_10" / "coco_results.json").unlink()
    else:
      (tmp_path / "evaluation-10.json").unlink()
    assert evaluated.stored_results(run, tmp_path) is None


class TestConfiguration:
  def test_detections_alone_are_evaluated(self, run):
    evaluation = run.task.evaluation.replace(metrics=["coco"], coco_annotations="official.json")
    run = dataclasses.replace(run, task=run.task.replace(evaluation=evaluation))
    config = evaluated.evaluation_config(run.task, run, None)
    assert config.evaluation.metrics == ["voc"] and not config.evaluation.auxiliary_metrics
    assert config.evaluation.coco_annotations == "official.json"
    assert config.label_map == run.label_map_file
    other = evaluated.evaluation_config(run.task, run, "other.tfrecord")
    assert other.evaluation.coco_annotations == ""
    assert other.validation_data.input_path == "other.tfrecord"

  def test_another_run_sees_the_images_of_the_first_in_its_own_size(self, run):
    task = run.task
    first = task.replace(
      validation_data=task.validation_data.replace(
        input_path="first", max_num_boxes=7, short_side=100
      )
    )
    data = evaluated.evaluation_config(first, run, None).validation_data
    assert (data.input_path, data.max_num_boxes) == ("first", 7)
    assert data.short_side == task.validation_data.short_side

  def test_fingerprint(self, tiny_run):
    run = export_lib.read_run(str(tiny_run))
    config = evaluated.evaluation_config(run.task, run, None)
    before = evaluated.fingerprint(run, config)
    assert before == evaluated.fingerprint(run, evaluated.evaluation_config(run.task, run, None))
    latest = export_lib.read_run(str(tiny_run), str(tiny_run / "ckpt-10"))
    assert evaluated.fingerprint(latest, config) != before
    smaller = config.replace(validation_data=config.validation_data.replace(short_side=90))
    assert evaluated.fingerprint(run, smaller) != before

  def test_changed_records_have_another_fingerprint(self, tiny_run, tmp_path):
    run = export_lib.read_run(str(tiny_run))
    path = tmp_path / "val.tfrecord"
    path.write_bytes(b"a")
    config = evaluated.evaluation_config(run.task, run, str(path))
    before = evaluated.fingerprint(run, config)
    os.utime(path, ns=(1, 1))
    assert evaluated.fingerprint(run, config) != before
    with pytest.raises(ValueError, match="no record files match"):
      evaluated.fingerprint(run, evaluated.evaluation_config(run.task, run, "nowhere"))


class TestOther:
  @pytest.fixture(name="obtain")
  def _obtain(self, sources, run, monkeypatch, tmp_path):
    """Obtains `run` as the other one; an evaluation gives what is in `folder`."""

    def obtain(other, folder):
      monkeypatch.setattr(evaluated, "_evaluated", lambda *args: folder)
      return evaluated.obtain_other(str(tmp_path), other, sources[0], None, tmp_path)

    return obtain

  def test_other_classes(self, run, monkeypatch):
    other = dataclasses.replace(run, class_names=["cat", "owl"])
    monkeypatch.setattr(evaluated.export_lib, "read_run", lambda *args: other)
    with pytest.raises(ValueError) as caught:
      evaluated.read_other("other", run)
    message = str(caught.value)
    assert "has the classes cat, owl; accepted: a run with those of --model_dir" in message
    assert message.endswith(f"in their order: cat, {made_up.EVIL}, owl")

  def test_its_own_results_where_they_are_of_the_same_images(self, obtain, run, tmp_path):
    assert obtain(run, None).folder == tmp_path / "results" / "step_10"

  def test_is_evaluated_where_they_are_of_others(self, obtain, run, tmp_path, sources):
    path = tmp_path / "results" / "step_10" / "coco_ground_truth.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] += 1.0
    path.write_text(json.dumps(content))
    assert obtain(run, sources[1].folder).folder == sources[1].folder
    with pytest.raises(ValueError, match="accepted: --records, on which both runs are evaluated"):
      obtain(run, path.parent)
