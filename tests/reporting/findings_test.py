"""What the page tells is what `evaluate` says of the same files."""

import json

import numpy as np
import pytest

from mtl_ssl_tf import evaluate
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.evaluation import error_analysis
from mtl_ssl_tf.reporting import findings, judged


def test_figures_are_those_of_evaluate(sources, found, tmp_path):
  source = sources[0]
  results, truth = (
    str(source.folder / name)
    for name in (detection_files.COCO_RESULTS_FILE, detection_files.COCO_GROUND_TRUTH_FILE)
  )
  flags = ["--predictions", results, "--ground_truth", truth, "--ids_of", "ground_truth"]
  flags += ["--metric", "voc", "coco", "--errors", "--output_dir", str(tmp_path)]
  assert evaluate.main(flags) == 0
  figures = json.loads((tmp_path / "figures.json").read_text())
  ours = {name: None if np.isnan(value) else value for name, value in found[0].figures.items()}
  assert ours == figures
  assert 0.1 < figures["voc/mAP50_area"] < 1.0 and figures["coco/AP/owl"] is None
  confusion = json.loads((tmp_path / "confusion_matrix.json").read_text())
  assert found[0].details["confusion"].tolist() == confusion["counts"]


def test_classes(found):
  cat, evil, owl = found[0].classes
  assert cat.num_objects + evil.num_objects == found[0].num_objects == 6 * 4 - 2
  assert cat.num_ignored + evil.num_ignored == 2
  assert owl[1:3] == (0, 0) and owl.num_detections > 0
  assert np.isnan(owl.average_precision) and owl.point is None
  assert cat.average_precision == found[0].figures["voc/AP50_area/cat"]
  assert found[0].thresholds == {
    "cat": cat.point.threshold,
    evil.name: evil.point.threshold,
    "owl": findings.DEFAULT_THRESHOLD,
  }


def test_thresholds_give_the_precision_and_recall_that_they_promise(found):
  number_found, number_wrong = 0, 0
  for image in found[0].images:
    of_cat = image.classes == 1
    number_found += np.sum(image.verdicts[of_cat] == error_analysis.Verdict.MATCH)
    number_wrong += np.sum(image.verdicts[of_cat] > error_analysis.Verdict.IGNORED)
  cat = found[0].classes[0]
  assert number_found / cat.num_objects == pytest.approx(cat.point.recall)
  assert number_found / (number_found + number_wrong) == pytest.approx(cat.point.precision)


def test_an_image_is_judged_as_the_errors_are_counted(sources, found):
  source, config = sources[0], found[0].config
  at = np.full(3, config.score_threshold)
  images = [image.from_scores_on(at) for image in judged.judge(source.truth, source.found, config)]
  verdicts = np.concatenate([image.verdicts for image in images])
  for kind in error_analysis.KINDS[:-1]:
    count = np.sum(verdicts == error_analysis.Verdict[kind.upper()])
    assert count == found[0].figures[f"errors/count/{kind}"]
  confusion = found[0].details["confusion"]
  assert sum(image.num_found for image in images) == np.trace(confusion)


def test_calibration_is_over_all_detections_that_count(sources, found):
  curves = found[0].details["curves"]
  assert sum(one.count for one in found[0].reliability) == sum(map(len, curves.values()))


def test_groups_are_of_the_objects_that_count(found):
  for groups in (found[0].sizes, found[0].neighbours):
    assert sum(group.num_objects for group in groups) == found[0].num_objects
    shown = sum(image.num_found for image in found[0].images)
    assert sum(group.num_found for group in groups) == shown
    assert all(group.num_found <= group.num_found_at_any_score for group in groups)
