"""The command, from files to figures: every pair of formats gives the same, faults one line."""

import contextlib
import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from mtl_ssl_tf import evaluate
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import coco_evaluator
from tests import fixtures

NAMES = ["cat", "dog"]


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """Records of a dozen images of two sizes, and detections in them as both kinds of file."""
  folder = tmp_path_factory.mktemp("evaluate")
  rng = np.random.default_rng(0)
  examples, found = [], []
  for number in range(12):
    size = (48, 64) if number % 2 else (300, 200)
    count = int(rng.integers(0, 6))
    corner = rng.uniform(0, 0.6, [count, 2]) * size
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, [count, 2]) * size], axis=1)
    classes = rng.integers(1, 3, count)
    examples.append(
      fixtures.serialized_example(
        fixtures.solid_image(*size),
        boxes,
        classes,
        difficult=[0] * count,
        is_crowd=(rng.uniform(size=count) < 0.15).astype(int).tolist(),
        source_id=str(700 - number),
      )
    )
    rows = rng.integers(0, count, 4) if count else []
    near = boxes[rows] + rng.normal(0, 0.02, [len(rows), 4]) * np.tile(size, 2)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
    anywhere = np.array([[1, 2, 20, 30], [5, 5, 40, 25]]) + rng.uniform(0, 2)
    boxes = np.concatenate([near, anywhere]).astype(np.float32)
    found.append(
      detection_files.Detections(
        ground_truth.Boxes.from_corners(boxes),
        # With ties.
        np.round(rng.uniform(size=len(boxes)), 1),
        np.append(classes[rows], rng.integers(1, 3, 2)).astype(np.int64),
      )
    )
  fixtures.write_records(folder / "val.tfrecord", examples)
  (folder / schema.LABEL_MAP_FILE).write_text("cat\ndog\n")
  (folder / "manifest_val.json").write_text(
    json.dumps({"category_ids": {"cat": 17, "dog": 90}, "shards": [{"file": "val.tfrecord"}]})
  )
  truth = truth_readers.read(str(folder / "val.tfrecord"))
  coco_truth.write_coco(truth, folder / "truth.json")
  ids = truth.coco_image_ids
  detection_files.write_coco_results(
    folder / "results.json", zip(ids, found, strict=True), truth.category_ids
  )
  names = [{"id": int(image.image_id), "file_name": image.file_name} for image in truth.images]
  classes = zip(truth.category_ids, truth.class_names, strict=True)
  kinds = [{"id": own_id, "name": name} for own_id, name in classes]
  (folder / "results_ids.json").write_text(json.dumps({"images": names, "categories": kinds}))
  (folder / "voc").mkdir()
  detection_files.write_comp4(
    folder / "voc", "val", zip(map(str, ids), found, strict=True), truth.class_names
  )
  return folder


def run(*flags) -> tuple[int, str, str]:
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = evaluate.main([str(flag) for flag in flags])
  return status, out.getvalue(), err.getvalue()


def figures(tmp_path, *flags):
  status, out, err = run(*flags, "--output_dir", tmp_path)
  assert status == 0, err
  return json.loads((tmp_path / "figures.json").read_text()), out


@pytest.fixture(name="expected", scope="module")
def _expected(folder, tmp_path_factory):
  return figures(
    tmp_path_factory.mktemp("expected"),
    *("--predictions", folder / "results.json", "--ground_truth", folder / "val.tfrecord"),
    *("--metric", "voc", "coco", "--errors"),
  )[0]


def test_figures_are_worth_comparing(expected):
  assert 0.1 < expected["coco/AP"] < 0.9
  assert 0.1 < expected["voc/mAP50_area"] < 0.9
  assert expected["errors/cost/localisation"] > 0.0


@pytest.mark.parametrize("predictions", ["results.json", "voc", "voc/comp4_det_val_*.txt"])
@pytest.mark.parametrize("truth", ["val.tfrecord", "truth.json"])
def test_every_pair_of_formats_gives_the_very_same(folder, tmp_path, expected, predictions, truth):
  found, _ = figures(
    tmp_path,
    *("--predictions", folder / predictions, "--ground_truth", folder / truth),
    *("--metric", "voc", "coco", "--errors"),
  )
  assert found == expected


def test_pycocotools_by_hand_gives_the_same(folder, expected):
  with contextlib.redirect_stdout(io.StringIO()):
    dataset = pycoco.COCO(folder / "truth.json")
    results = dataset.loadRes(str(folder / "results.json"))
    evaluation = cocoeval.COCOeval(dataset, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
  ours = [expected[f"coco/{name}"] for name in coco_evaluator.FIGURES]
  ours = [-1.0 if value is None else value for value in ours]
  np.testing.assert_allclose(ours, evaluation.stats, rtol=0, atol=1e-9)


def test_ground_truth_can_be_written(folder, tmp_path):
  status, _, err = run(
    *("--predictions", folder / "results.json", "--ground_truth", folder / "val.tfrecord"),
    *("--metric", "coco", "--write_coco_ground_truth", tmp_path / "again.json"),
  )
  assert status == 0
  assert f"{tmp_path}/again.json: the ground truth as a COCO annotation file" in err
  assert (tmp_path / "again.json").read_bytes() == (folder / "truth.json").read_bytes()


def test_output(folder, tmp_path, expected):
  _, out = figures(
    tmp_path,
    *("--predictions", folder / "voc", "--ground_truth", folder / "truth.json"),
    *("--metric", "voc", "--errors", "--score_threshold", "0.3"),
  )
  assert out.startswith("VOC average precision at IoU 0.5, percent\n")
  assert "Confusion matrix at score 0.3" in out
  with (tmp_path / "precision_recall.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert {row["class"] for row in rows} == set(NAMES)
  assert all(0.0 <= float(row["precision"]) <= 1.0 for row in rows)
  confusion = json.loads((tmp_path / "confusion_matrix.json").read_text())
  assert confusion["rows_true_columns_detected"] == ["background", *NAMES]
  assert confusion["score_threshold"] == 0.3
  errors = json.loads((tmp_path / "errors.json").read_text())
  assert errors["costs"]["background"] == pytest.approx(expected["errors/cost/background"])
  assert errors["by_class"]["counts"]["background"].keys() == set(NAMES)
  for name in ("precision_recall", "errors", "confusion_matrix"):
    assert np.ptp(np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))) > 200


def test_options_change_the_figures(folder, tmp_path, expected):
  inputs = ("--predictions", folder / "voc", "--ground_truth", folder / "truth.json")
  found, _ = figures(tmp_path, *inputs, "--metric", "voc", "--iou_threshold", "0.75")
  assert found["voc/mAP75_area"] < expected["voc/mAP50_area"]
  found, _ = figures(tmp_path, *inputs, "--metric", "voc", "--errors", "--voc_ap", "11point")
  assert found["errors/cost/localisation"] != expected["errors/cost/localisation"]


def test_voc_folder(folder, tmp_path):
  voc = tmp_path / "VOC"
  for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (voc / name).mkdir(parents=True)
  (voc / "ImageSets/Main/test.txt").write_text("000012\n")
  (voc / "Annotations/000012.xml").write_text(
    "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax>"
    "<ymax>10</ymax></bndbox></object></annotation>"
  )
  (tmp_path / "comp4_det_test_cat.txt").write_text("000012 0.9 1 1 10 5\n")
  flags = ("--predictions", tmp_path, "--ground_truth", voc, "--split", "test", "--metric", "voc")
  # Five rows of ten with inclusive pixels, 4 of 9 without.
  for inclusive, expected in ((["--inclusive_pixels"], 1.0), ([], 0.0)):
    found, _ = figures(tmp_path / "out", *flags, *inclusive)
    assert found["voc/mAP50_area"] == expected


def test_voc_folder_with_faults_and_a_label_map(tmp_path):
  voc = tmp_path / "VOC"
  for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (voc / name).mkdir(parents=True)
  (voc / "ImageSets/Main/test.txt").write_text("a\nb\n")
  box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>10</ymax></bndbox>"
  text = f"<annotation><object><name>cat</name>{box}</object></annotation>"
  (voc / "Annotations/a.xml").write_text(text)
  (tmp_path / "classes.txt").write_text("dog\ncat\n")
  (tmp_path / "results.json").write_text(
    '[{"image_id": "a", "category_id": 2, "bbox": [1, 1, 9, 9], "score": 0.5}]'
  )
  flags = ("--predictions", tmp_path / "results.json", "--ground_truth", voc, "--split", "test")
  flags += ("--label_map", tmp_path / "classes.txt", "--metric", "voc")
  status, _, err = run(*flags)
  assert status == 1 and err.startswith("Annotations/b.xml: file: missing;")
  found, out = figures(tmp_path / "out", *flags, "--on_error", "skip")
  assert found["voc/AP50_area/cat"] == 1.0
  assert out.splitlines()[3].split()[0] == "dog"


def test_faulty_objects_of_a_coco_file_are_left_out_if_asked(tmp_path):
  boxes = [[1, 1, 9, 9], [5, 5, 3]]
  truth = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 20}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
      {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "area": 81, "iscrowd": 0}
      for i, box in enumerate(boxes, start=1)
    ],
  }
  (tmp_path / "truth.json").write_text(json.dumps(truth))
  found = [{"image_id": 1, "category_id": 1, "bbox": boxes[0], "score": 0.5}]
  (tmp_path / "results.json").write_text(json.dumps(found))
  inputs = ("--predictions", tmp_path / "results.json", "--ground_truth", tmp_path / "truth.json")
  flags = (*inputs, "--ids_of", "ground_truth", "--metric", "voc")
  status, _, err = run(*flags)
  assert status == 1 and err.startswith("truth.json: object 2 ('cat', id 2) bbox: [5, 5, 3];")
  figures_found, _ = figures(tmp_path / "out", *flags, "--on_error", "skip")
  assert figures_found["voc/AP50_area/cat"] == 1.0


def test_faults_and_settings_are_one_line(folder, tmp_path):
  inputs = ("--predictions", folder / "results.json", "--ground_truth", folder / "truth.json")
  (tmp_path / "bad.json").write_text('[{"image_id": 700, "category_id": 17}]')
  for flags, message in (
    (
      ("--predictions", tmp_path / "bad.json", *inputs[2:], "--ids_of", "ground_truth"),
      f"{tmp_path}/bad.json: entry 1: bbox: None; accepted: four finite numbers: left, top, width,"
      " height\nerror: faults: 1; nothing was evaluated\n",
    ),
    (
      (*inputs[:2], "--ground_truth", tmp_path / "no.json"),
      "no.json: file: cannot be read (No such",
    ),
    (
      ("--predictions", tmp_path / "bad.json", *inputs[2:]),
      "error: --predictions {tmp_path}/bad.json: its ids are numbers, and nothing says".replace(
        "{tmp_path}", str(tmp_path)
      ),
    ),
    (
      (*inputs, "--split", "val"),
      "error: --split val: has no use here; accepted: with a VOC folder\n",
    ),
    (
      (*inputs, "--iou_threshold", "0"),
      "error: --iou_threshold is 0.0; accepted: above 0, at most",
    ),
    ((*inputs, "--score_threshold", "nan"), "error: --score_threshold is nan; accepted: 0 to 1\n"),
    ((*inputs, "--output_dir", folder / "truth.json"), "error: [Errno 17] File exists"),
  ):
    status, _, err = run(*flags, "--metric", "voc")
    assert status == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["precision_recall.csv", "errors.png"])
def test_files_of_the_user_stay(folder, tmp_path, name):
  inputs = ("--predictions", folder / "results.json", "--ground_truth", folder / "truth.json")
  flags = (*inputs, "--metric", "voc", "--errors", "--output_dir", tmp_path)
  (tmp_path / name).write_text("mine")
  status, out, err = run(*flags)
  assert (status, out) == (1, "")  # Before any work.
  assert err.startswith(
    f"error: --output_dir '{tmp_path}': {name} cannot be written: it is there a"
  )
  assert [path.name for path in tmp_path.iterdir()] == [name]
  (tmp_path / name).unlink()
  for _ in range(2):
    assert run(*flags)[0] == 0
  (tmp_path / "figures.json").write_text("notes")
  assert run(*flags)[0] == 1


@pytest.mark.parametrize("flag", ["--predictions", "--ground_truth"])
def test_what_is_read_is_not_written_over(folder, tmp_path, flag):
  for name in ("results.json", "results_ids.json", "truth.json"):
    (tmp_path / name).write_bytes((folder / name).read_bytes())
  inputs = {"--predictions": tmp_path / "results.json", "--ground_truth": tmp_path / "truth.json"}
  (tmp_path / "link.json").symlink_to(inputs[flag])
  flags = [part for pair in inputs.items() for part in pair]
  status, _, err = run(
    *flags, "--metric", "voc", "--write_coco_ground_truth", tmp_path / "link.json"
  )
  assert status == 1
  assert err == (
    f"error: --write_coco_ground_truth '{tmp_path}/link.json' is {flag}; accepted: another file\n"
  )


def test_ids_of_another_order_are_joined_by_names(folder, tmp_path, expected):
  # As `predict` numbers images: from 1 on, in the order of their names.
  known = json.loads((folder / "results_ids.json").read_text())
  order = sorted(known["images"], key=lambda image: image["file_name"])
  new_ids = {image["id"]: number for number, image in enumerate(order, start=1)}
  new_kinds = {17: 1, 90: 2}
  rows = json.loads((folder / "results.json").read_text())
  for row in rows:
    row.update(image_id=new_ids[row["image_id"]], category_id=new_kinds[row["category_id"]])
  for image in known["images"]:
    image["id"] = new_ids[image["id"]]
  for kind in known["categories"]:
    kind["id"] = new_kinds[kind["id"]]
  (tmp_path / "coco_results.json").write_text(json.dumps(rows))
  (tmp_path / "coco_results_ids.json").write_text(json.dumps(known))
  found, _ = figures(
    tmp_path / "out",
    *("--predictions", tmp_path / "coco_results.json", "--ground_truth", folder / "truth.json"),
    *("--metric", "voc", "coco", "--errors"),
  )
  assert found == pytest.approx(expected)


def test_a_ground_truth_without_objects_is_refused(folder, tmp_path):
  content = json.loads((folder / "truth.json").read_text()) | {"annotations": []}
  (tmp_path / "truth.json").write_text(json.dumps(content))
  inputs = ("--predictions", folder / "results.json", "--ground_truth", tmp_path / "truth.json")
  status, out, err = run(*inputs, "--metric", "voc")
  assert (status, out) == (1, "")
  assert "truth.json: no object in 12 images; accepted: at least one" in err


def test_classes_without_an_object_are_told(folder, tmp_path):
  content = json.loads((folder / "truth.json").read_text())
  content["annotations"] = [row for row in content["annotations"] if row["category_id"] == 17]
  (tmp_path / "truth.json").write_text(json.dumps(content))
  inputs = ("--predictions", folder / "results.json", "--ground_truth", tmp_path / "truth.json")
  status, _, err = run(*inputs, "--metric", "voc")
  assert status == 0
  assert "truth.json: classes without an object: dog (1 of 2)" in err


# What a file holds in the place of results, and the message after its name.
_FOREIGN_RESULTS = {
  "deep": ("[" * 100_000, "file: no JSON (objects and lists in each other; at most 32 levels)"),
  "deep entry": ('[{"image_id": ' + "[" * 50 + "]" * 50 + "}]", "file: no JSON (objects and lists"),
  "long number": (
    f'[{{"image_id": {"7" * 400}, "category_id": 17, "bbox": [1, 1, 1, 1], "score": 1}}]',
    "file: no JSON (a number of 400 characters, 77777777777777777777…; at most 100)",
  ),
  "number": ("3", "file: int; accepted: a list of {image_id, category_id, bbox, score}"),
  "text": ('"cat"', "file: str; accepted: a list of {image_id, category_id, bbox, score}"),
  "entry": ('[3, "cat", null]', "entry 1: 3; accepted: an object with image_id"),
  "images": (
    '{"images": [null], "annotations": [], "categories": []}',
    "images: entry 1: None; accepted: an object with id and name",
  ),
  "categories": (
    '{"images": [], "annotations": [], "categories": ["cat"]}',
    "categories: entry 1: 'cat'; accepted: an object with id and name",
  ),
  "long text": (
    json.dumps([{"image_id": 700, "category_id": "x" * 10**6}]),
    f"entry 1: category_id: 'xx{'x' * 196}…; accepted: a category of",
  ),
}


@pytest.mark.parametrize("name", _FOREIGN_RESULTS)
def test_foreign_json_in_the_place_of_results(folder, tmp_path, name):
  content, message = _FOREIGN_RESULTS[name]
  (tmp_path / "a.json").write_text(content)
  inputs = ("--predictions", tmp_path / "a.json", "--ground_truth", folder / "truth.json")
  status, _, err = run(*inputs, "--ids_of", "ground_truth", "--metric", "voc")
  assert status == 1
  assert err.startswith(f"{tmp_path}/a.json: {message}")
  assert "Traceback" not in err


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("3", "content is 3; accepted: an object, as in what a converter wrote"),
    ("{", "no JSON (Expecting property name"),
    ('{"shards": [null]}', "content: shards: entry 1 is null; accepted: an object"),
    (
      '{"shards": [{"file": "val.tfrecord"}], "category_ids": {"cat": null, "dog": 1}}',
      "content: category_ids: cat is null; accepted: a whole number of 64 bits",
    ),
  ],
)
def test_a_manifest_that_is_none(folder, tmp_path, content, message):
  for file in ("val.tfrecord", schema.LABEL_MAP_FILE):
    shutil.copy(folder / file, tmp_path)
  (tmp_path / "manifest_val.json").write_text(content)
  (tmp_path / "manifest_of another program.json").write_text("3")
  inputs = ("--predictions", folder / "results.json", "--ground_truth", tmp_path / "val.tfrecord")
  status, _, err = run(*inputs, "--metric", "voc")
  assert status == 1
  assert err.startswith(f"{tmp_path}/manifest_val.json: manifest: {message}")
  (tmp_path / "manifest_val.json").unlink()
  assert run(*inputs, "--metric", "voc")[0] == 0
