"""The text that follows an evaluation, and the file that it leaves."""

import json

from mtl_ssl_tf.training import evaluation_log


class TestReport:
  FIGURES = {  # noqa: RUF012 - never changed
    "voc/mAP50_area": 0.25,
    "voc/AP50_area/dog": float("nan"),
    "auxiliary/foreground_iou": 0.5,
    "dropped_boxes": 0.0,
    "best_voc/mAP50_area": 0.75,
  }

  def report(self, task, tmp_path, **changed) -> list[str]:
    figures = {**self.FIGURES, **changed}
    return evaluation_log.report(
      task, str(tmp_path), "voc/mAP50_area", None, figures, 7
    ).splitlines()

  def test_text(self, task, tmp_path):
    lines = self.report(task, tmp_path)
    assert lines[0].startswith("VOC average precision")
    assert lines[-2:] == [
      "foreground_iou               0.500",
      "voc/mAP50_area 0.2500 (best 0.7500)",
    ]

  def test_file_is_json_without_nan(self, task, tmp_path):
    self.report(task, tmp_path)

    def refuse(constant):
      raise AssertionError(constant)

    text = (tmp_path / "evaluation-7.json").read_text()
    found = json.loads(text, parse_constant=refuse)
    assert found == {"step": 7, **self.FIGURES, "voc/AP50_area/dog": None}

  def test_without_a_best_checkpoint(self, task, tmp_path):
    figures = dict(self.FIGURES)
    del figures["best_voc/mAP50_area"]
    text = evaluation_log.report(task, str(tmp_path), "voc/mAP50_area", None, figures, 7)
    assert text.splitlines()[-1] == "voc/mAP50_area 0.2500"

  def test_averaged_weights(self, task, tmp_path):
    text = evaluation_log.report(
      task, str(tmp_path), "voc/mAP50_area", None, self.FIGURES, 7, is_averaged=True
    )
    assert text.splitlines()[-2:] == [
      "evaluated: the averaged weights",
      "voc/mAP50_area 0.2500 (best 0.7500)",
    ]

  def test_dropped_boxes(self, task, tmp_path, capsys):
    self.report(task, tmp_path, dropped_boxes=3.0)
    assert capsys.readouterr().err == (
      "warning: step 7: ground-truth boxes left out of these figures: 3; "
      "raise task.validation_data.max_num_boxes\n"
    )

  def test_other_settings_leave_the_figures_of_the_run(self, task, tmp_path):
    self.report(task, tmp_path)
    before = (tmp_path / "evaluation-7.json").read_bytes()
    changed = {"task.refinement.enabled": False}
    figures = {"voc/mAP50_area": 0.1, "dropped_boxes": 0.0}
    text = evaluation_log.report(
      task, str(tmp_path), "voc/mAP50_area", None, figures, 7, changed=changed
    )
    assert (tmp_path / "evaluation-7.json").read_bytes() == before
    (other,) = tmp_path.glob("evaluation-7-*.json")
    assert json.loads(other.read_text()) == {
      "step": 7,
      **figures,
      "changed_settings": changed,
    }
    assert (
      f"settings that are not the run's: task.refinement.enabled False; figures in {other}"
      in (text.splitlines())
    )
    assert evaluation_log.file_name(7, {"x": 1}) != evaluation_log.file_name(7, {"x": 2})
