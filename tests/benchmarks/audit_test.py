"""The benchmark of audits: rules and figures by hand, and the command with given detections."""

import json
import math
import sys

import numpy as np
import pytest

from benchmarks import audit
from benchmarks.accuracy import data as data_lib
from benchmarks.auditing import arms, figures, runs, tables
from mtl_ssl_tf.data.ground_truth import detection_files
from tests.auditing import made_up
from tests.data import voc_files


def _world(boxes, classes, found):
  truth = made_up.truth([made_up.image(boxes, classes)])
  return truth, [made_up.detections(*zip(*found, strict=True))]


class TestRules:
  def test_cleanlab(self):
    # A box of each class; distances of centres are 30 and 40 pixels.
    boxes = [[0, 0, 10, 10], [100, 0, 110, 10]]
    found = [
      ([0, 30, 10, 40], 0.96, 1),  # Near its like.
      ([0, 40, 10, 50], 0.95, 1),  # Farther: less alike, so first.
      ([0, 9, 10, 19], 0.99, 1),  # It touches a box.
      ([100, 9, 110, 19], 0.99, 1),  # It touches one of another class.
      ([0, 60, 10, 70], 0.94, 1),  # Not sure enough.
    ]
    truth, detections = _world(boxes, [1, 2], found)
    ranking = arms.RULES["cleanlab"](truth, detections)
    assert ranking.boxes[:, 1].tolist() == [40, 30]
    np.testing.assert_allclose(-ranking.values, [0.1 * np.exp(-4.0), 0.1 * np.exp(-3.0)])
    low = arms.RULES["cleanlab_low"](truth, detections)
    assert low.boxes[:, 1].tolist() == [60, 40, 30]

  def test_cleanlab_without_a_box_of_the_class(self):
    boxes = [[0, 0, 10, 10]]
    found = [([0, 30, 10, 40], 0.96, 1), ([0, 50, 10, 60], 0.97, 2)]
    ranking = arms.RULES["cleanlab"](*_world(boxes, [1], found))
    assert ranking.classes.tolist() == [2, 1]
    # The least similarity of all pairs is that of 50 pixels.
    np.testing.assert_allclose(-ranking.values[0], 0.1 * np.exp(-5.0) * 0.03)

  def test_fiftyone(self):
    boxes = [[0, 0, 10, 10]]
    found = [
      ([0, 0, 10, 10], 0.99, 1),  # It matches.
      ([0, 1, 10, 11], 0.98, 2),  # A second one on a box that is taken.
      ([0, 6, 10, 16], 0.97, 1),  # An IoU of a quarter.
      ([50, 50, 60, 60], 0.95, 1),  # Not above the bound.
    ]
    world = _world(boxes, [2], found)
    assert arms.RULES["fiftyone"](*world).values.tolist() == [0.98, 0.97]
    assert arms.RULES["fiftyone_low"](*world).values.tolist() == [0.98, 0.97, 0.95]

  def test_loss(self):
    boxes = [[0, 0, 10, 10], [0, 40, 10, 50]]
    found = [
      ([0, 0, 10, 10], 0.9, 1),  # Right.
      ([0, 0, 10, 10], 0.8, 2),  # Another class than the box.
      ([0, 42, 20, 52], 0.7, 2),  # An IoU of 0.36: background.
      ([0, 42, 10, 52], 0.6, 2),  # Moved by a fifth of its width.
    ]
    ranking = arms.RULES["loss"](*_world(boxes, [1, 2], found))
    # Of the rest, 0.2, each of two others has half.
    expected = {0.9: -np.log(0.9), 0.8: -np.log(0.1), 0.7: -np.log(0.3), 0.6: 1.5 - np.log(0.6)}
    np.testing.assert_allclose(ranking.values, sorted(expected.values(), reverse=True))
    assert ranking.classes.tolist() == [2, 2, 2, 1]
    assert ranking.boxes[:, 1].tolist() == [0, 42, 42, 0]

  def test_loss_of_sizes_and_without_a_box(self):
    boxes = [[0, 0, 10, 10]]
    found = [([0, 0, 10, 8], 0.5, 1)]
    (value,) = arms.RULES["loss"](*_world(boxes, [1], found)).values
    # Centre by 1 of 8 pixels, size by the logarithm of 10 / 8, both more than 1 once weighted.
    assert value == pytest.approx(-np.log(0.5) + (10 / 8 - 0.5) + (5 * np.log(10 / 8) - 0.5))
    truth = made_up.truth([made_up.image()])
    alone = arms.RULES["loss"](truth, [made_up.detections([[0, 0, 9, 9]], [1.0], [1])])
    assert alone.values.tolist() == [pytest.approx(-np.log(1e-7))]
    assert len(arms.RULES["loss"](truth, [made_up.detections()]).values) == 0

  def test_cleanlab_itself(self, tmp_path):
    """A program in cleanlab's place, which answers with what it was given."""
    truth, detections = _world(
      [[0, 2, 10, 12]], [2], [([0, 30, 10, 40], 0.96, 1), ([3, 40, 10, 50], 0.5, 2)]
    )
    program = tmp_path / "python"
    program.write_text(
      f"#!{sys.executable}\n"
      "import json, shutil, sys\n"
      "if sys.argv[1] == '-c': sys.exit()\n"
      "assert sys.argv[1:3] == ['-m', 'benchmarks.peers.cleanlab_scores']\n"
      f"shutil.copy(sys.argv[3], {str(tmp_path / 'given.json')!r})\n"
      "json.dump({'version': '2.9', 'values': [[0.5, None]]}, open(sys.argv[4], 'w'))\n"
    )
    program.chmod(0o755)
    rules = arms.by_cleanlab(str(program))
    for name, bound in (("cleanlab", None), ("cleanlab_low", 0.0)):
      ranking = rules[name](truth, detections)
      assert ranking.boxes.tolist() == [[0, 30, 10, 40]] and ranking.values.tolist() == [-0.5]
      assert json.loads((tmp_path / "given.json").read_text()) == {
        "num_classes": 2,
        "least_score": bound,
        "images": [
          {
            "boxes": [[2, 0, 12, 10]],
            "classes": [1],
            "found_boxes": [[30, 0, 40, 10], [40, 3, 50, 10]],
            "found_classes": [0, 1],
            "found_scores": [0.96, 0.5],
          }
        ],
      }

  @pytest.mark.parametrize(
    ("python", "cause"), [(sys.executable, "No module named 'cleanlab'"), ("nowhere", "No such")]
  )
  def test_no_cleanlab(self, python, cause):
    with pytest.raises(ValueError, match=f"--cleanlab {python}: .*{cause}.*; accepted: Python wi"):
      arms.by_cleanlab(python)

  def test_score_takes_classes_into_account(self):
    boxes = [[0, 0, 10, 10]]
    found = [([0, 0, 10, 10], 0.9, 1), ([0, 0, 10, 10], 0.8, 2)]
    assert arms.RULES["score"](*_world(boxes, [2], found)).values.tolist() == [0.9]

  def test_ours_is_the_list(self):
    truth, found, _ = made_up.world(0, 20)
    ranking = arms.RULES["ours"](truth, found)
    assert (np.diff(ranking.values) <= 0).all() and len(ranking.values) > 10
    assert set(ranking.classes.tolist()) <= {1, 2}


def _ranking(rows):
  images, boxes, classes = zip(*rows, strict=True)
  values = np.arange(len(rows), 0, -1.0)
  return arms.Ranking(np.array(images), np.array(boxes, float), np.array(classes), values)


class TestFigures:
  erased = (
    np.array([[0, 0, 10, 10, 1], [0, 50, 40, 90, 2.0]]),
    np.zeros([0, 5]),
    np.array([[0, 0, 100, 100, 1.0]]),
  )

  def test_a_box_is_hit_once_by_its_class_in_its_image(self):
    ranking = _ranking(
      [
        (0, [0, 0, 10, 10], 2),  # Another class.
        (0, [0, 0, 10, 9], 1),
        (0, [0, 0, 10, 10], 1),  # Hit before.
        (1, [0, 50, 40, 90], 2),  # Another image.
        (2, [0, 0, 100, 49], 1),  # Less than half.
        (2, [0, 0, 100, 50], 1),
      ]
    )
    assert figures.hits(ranking, self.erased).tolist() == [-1, 0, -1, -1, -1, 2]

  def test_figures(self):
    ranking = _ranking(
      [
        (0, [0, 0, 10, 10], 1),
        (1, [0, 0, 5, 5], 1),
        (2, [0, 0, 100, 100], 1),
        (0, [0, 50, 40, 90], 2),
      ]
    )
    found = figures.measure(ranking, self.erased)
    # Three of three at the places 1, 3 and 4; precision 1, then 3/4 (the envelope) twice.
    assert found["AP"] == pytest.approx((1.0 + 0.75 + 0.75) / 3)
    assert found["recall at N"] == pytest.approx(2 / 3)
    assert found["precision at 50"] == pytest.approx(3 / 50)
    # Images 0, 1 and 2, of which the second has nothing erased.
    assert found["AP by image"] == pytest.approx((1.0 + 2 / 3) / 2)
    # Small, medium and large ones of 100, 1600 and 10000 square pixels.
    assert found["recall at N, small"] == 1.0 == found["recall at N, large"]
    assert found["recall at N, medium"] == 0.0

  def test_nothing_erased(self):
    found = figures.measure(_ranking([(0, [0, 0, 1, 1], 1)]), [np.zeros([0, 5])])
    assert math.isnan(found["AP"]) and math.isnan(found["recall at N"])


def _row(arm, seed, value):
  found = dict.fromkeys(figures.NAMES, value)
  found |= {f"recall at N, {size}": value for size in ("small", "medium", "large")}
  about = {"data": "bccd", "share": "0.1", "column": "folds", "num_erased": 5}
  return about | {"seed": seed, "arm": arm, "figures": found}


def test_tables():
  rows = [_row("score", seed, value) for seed, value in ((0, 0.4), (1, 0.5))]
  rows += [_row("ours", seed, value) for seed, value in ((1, 0.61), (0, 0.5))]
  rows += [_row("cleanlab", seed, 0.1) for seed in (0, 1)]
  text = tables.report(rows)
  assert "| bccd | 0.1 | folds | score | 2 | 45.0 ± 7.1 |" in text
  assert (
    "ours is above score by +10.5 points of AP; two standard deviations of the difference" in text
  )
  # Seeds go together: 10 and 11 points.
  assert "are 1.4: shown" in text
  assert tables.report([_row("ours", 0, 0.5)]).count("ours is above") == 0


@pytest.mark.parametrize("text", ["bccd", "bccd:1", "bccd:10miss", ":0.1", "bccd:0.0"])
def test_faulty_sets(text):
  with pytest.raises(ValueError, match="--sets is"):
    runs.parse_set(text)


@pytest.fixture(name="folder")
def _folder(tmp_path):
  """A VOC folder with 40 training images, and detections in them."""
  truth, found, _ = made_up.world(2, 44, missing=0.0)
  files = {}
  for image in truth.images:
    objects = [
      voc_files.object_xml(
        truth.class_names[class_id - 1],
        dict(zip(("ymin", "xmin", "ymax", "xmax"), np.round(box, 2), strict=True)),
      )
      for box, class_id in zip(image.boxes.corners, image.classes, strict=True)
    ]
    files[f"i{image.image_id}.xml"] = voc_files.annotation_xml(objects, made_up.SIZE)
    files[f"i{image.image_id}.jpg"] = voc_files.image_bytes(voc_files.picture(*made_up.SIZE))
  voc_files.write(tmp_path / "voc", files)
  names = [f"i{image.image_id}" for image in truth.images]
  lists = tmp_path / "voc" / "ImageSets" / "Main"
  (lists / "train.txt").write_text("".join(f"{name}\n" for name in names[:40]))
  (lists / "val.txt").write_text("".join(f"{name}\n" for name in names[40:]))
  rows = zip(names[:40], found[:40], strict=True)
  detection_files.write_coco_results(tmp_path / "results.json", rows, (1, 2))
  return tmp_path


def test_command_with_given_detections(folder, capsys):
  flags = [f"--output_dir={folder / 'out'}", f"--voc=mine={folder / 'voc'}", "--seeds", "0", "1"]
  flags += ["--sets", "mine:0.3", f"--predictions=mine={folder / 'results.json'}"]
  assert audit.main(flags) == 0
  printed = capsys.readouterr().out
  assert "mine, 0.3 erased, file: ours is above " in printed
  rows = json.loads((folder / "out" / "audit.json").read_text())
  assert len(rows) == 2 * len(arms.RULES)
  assert {row["seed"] for row in rows} == {0, 1} and all(row["num_erased"] > 20 for row in rows)
  by_arm = {row["arm"]: row["figures"] for row in rows if row["seed"] == 1}
  assert by_arm["ours"]["AP"] > by_arm["score"]["AP"] > by_arm["cleanlab"]["AP"]
  # The erased boxes are those that the records had.
  sparse = runs.Sparse(data_lib.DataSet("mine", folder / "out" / "mine"), "0.3", 1)
  data, erased = sparse.read()
  kept = sum(len(image.classes) for image in data.truth.images)
  manifest = json.loads((folder / "out/mine/records/manifest_train_30miss_seed1.json").read_text())[
    "sparse_annotations"
  ]["annotations"]
  assert kept == manifest["kept"]
  assert sum(map(len, erased)) == manifest["erased"] - manifest["erased_with_their_image"]
  assert np.concatenate(erased)[:, 2].max() > 100.0  # Pixels, not fractions.
  report = (folder / "out" / "report.md").read_text()
  assert audit.main([f"--output_dir={folder / 'out'}", "--only_report"]) == 0
  assert (folder / "out" / "report.md").read_text() == report


def test_cleanlab_takes_the_place_of_its_rules(folder, monkeypatch):
  ranked = arms.RULES["score"]
  monkeypatch.setattr(
    arms, "by_cleanlab", lambda python: {"cleanlab": ranked} if python == "p" else {}
  )
  flags = [f"--output_dir={folder / 'out'}", f"--voc=mine={folder / 'voc'}", "--seeds", "0"]
  flags += ["--sets", "mine:0.3", f"--predictions=mine={folder / 'results.json'}"]
  assert audit.main([*flags, "--cleanlab=p"]) == 0
  rows = json.loads((folder / "out" / "audit.json").read_text())
  by_arm = {row["arm"]: row["figures"] for row in rows}
  assert by_arm["cleanlab"] == by_arm["score"] != by_arm["cleanlab_low"]


def test_detectors_are_trained_where_there_are_no_detections(folder, monkeypatch):
  calls = []

  def detect(sparse, column, training, data):
    calls.append((sparse.split, column, training))
    return [detection_files.no_detections() for _ in data.truth.images]

  monkeypatch.setattr(runs, "detect", detect)
  flags = [f"--output_dir={folder / 'out'}", f"--voc=mine={folder / 'voc'}", "--seeds", "3"]
  flags += ["--sets", "mine:0.1", "--config=mine=a.yaml", "--columns", "folds", "own", "--jobs=1"]
  assert audit.main([*flags, "--folds=3", "--steps=7"]) == 0
  training = runs.Training("a.yaml", 3, 7, 1)
  assert calls == [("train_10miss_seed3", column, training) for column in ("folds", "own")]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--sets", "mine:0.1"], "--sets mine: no data; accepted: --voc mine=FOLDER, in VOC layout"),
    (["--sets", "bccd:0.1"], "--sets bccd: no data; accepted: --bccd FOLDER, in VOC layout"),
    (["--predictions=x"], "--predictions is 'x'; accepted: NAME=VALUE"),
  ],
)
def test_faults(tmp_path, capsys, flags, message):
  with pytest.raises(SystemExit):
    audit.main([f"--output_dir={tmp_path / 'out'}", *flags])
  assert message in capsys.readouterr().err
