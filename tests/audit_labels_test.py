"""The command, from records, VOC folder and COCO file to list, page and corrected annotations."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from mtl_ssl_tf import audit_labels
from mtl_ssl_tf.auditing import candidates
from mtl_ssl_tf.data import coco_json, pascal_voc
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from mtl_ssl_tf.prediction import voc_xml
from tests.auditing import made_up
from tests.data import voc_files


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory):
  """Records with their detections, and the annotations."""
  folder = tmp_path_factory.mktemp("world")
  return folder, made_up.write(folder)


@pytest.fixture(name="output", scope="module")
def _output(world, tmp_path_factory):
  """An audit of the records."""
  output = tmp_path_factory.mktemp("audit") / "new"
  assert audit_labels.main([*_flags(world), f"--output_dir={output}", "--num_shown=30"]) == 0
  return output


def _flags(world):
  folder, _ = world
  return [f"--data={folder / 'train.tfrecord'}", f"--predictions={folder / 'results.json'}"]


def _listed(output):
  return json.loads((output / "audit.json").read_text())["candidates"]


def test_files(output):
  names = sorted(path.name for path in output.iterdir() if not path.name.startswith("."))
  assert names == sorted(audit_labels.FILES)


def test_list(output, world):
  _, truth = world
  found = detection_files.read_predictions(_flags(world)[1].split("=", 1)[1], truth)
  expected = candidates.find(truth, found).candidates
  listed = _listed(output)
  assert len(listed) == len(expected) > 30
  values = [row["probability"] for row in listed]
  assert values == sorted(values, reverse=True)
  for row, one in zip(listed[:50], expected, strict=False):
    assert row["image_id"] == truth.images[one.image].image_id
    assert row["kind"] == one.kind and abs(row[row["kind"]] - one.probability) < 1e-3
    assert row["id"] == one.identifier(row["image_id"])
    if one.proposed_box is not None:
      np.testing.assert_allclose(row["bbox"], one.proposed_box, atol=0.01)
      assert row["class"] == made_up.NAMES[one.proposed_class - 1]
    if one.given_object >= 0:
      image = truth.images[one.image]
      np.testing.assert_allclose(
        row["given_bbox"], image.boxes.xywh[row["given_object"]], atol=0.01
      )
      assert row["given_class"] == made_up.NAMES[image.classes[row["given_object"]] - 1]


def test_csv_is_the_list_and_harmless(output):
  rows = list(csv.DictReader((output / "audit.csv").read_text().splitlines()))
  listed = _listed(output)
  assert len(rows) == len(listed)
  for row, one in zip(rows, listed, strict=True):
    assert row["id"] == one["id"] and float(row["probability"]) == one["probability"]
    sides = [row[side] for side in ("left", "top", "width", "height")]
    assert [float(side) if side else None for side in sides] == (one["bbox"] or [None] * 4)
    assert not row["class"].startswith("=")
  assert any(row["class"] == "'=cat()" for row in rows)


def test_page(output):
  text = (output / "audit.html").read_text()
  assert text.count('class="card"') == 30 == text.count("data:image/jpeg")
  assert made_up.EVIL not in text and "<img src=x" not in text
  assert "&lt;script&gt;alert(1)" in text


def test_cvat(output, world):
  _, truth = world
  root = ElementTree.parse(output / "cvat.xml").getroot()
  assert root.findtext("version") == "1.1"
  assert [name.text for name in root.findall("meta/task/labels/label/name")] == [*made_up.NAMES]
  images = root.findall("image")
  assert [image.get("name") for image in images] == [image.file_name for image in truth.images]
  shown = _listed(output)[:30]
  for element, image in zip(images, truth.images, strict=True):
    assert (element.get("height"), element.get("width")) == ("200", "300")
    given = element.findall("box[@source='manual']")
    assert len(given) == len(image.classes)
    left, top, width, height = image.boxes.xywh[0]
    sides = [float(given[0].get(side)) for side in ("xtl", "ytl", "xbr", "ybr")]
    np.testing.assert_allclose(sides, [left, top, left + width, top + height], atol=0.01)
    assert given[0].get("label") == made_up.NAMES[image.classes[0] - 1]
    rows = [row for row in shown if row["image_id"] == image.image_id]
    missing = [row for row in rows if row["kind"] == candidates.MISSING]
    proposed = element.findall("box[@source='auto']")
    assert [box.get("label") for box in proposed] == [row["class"] for row in missing]
    scores = [float(box.findtext("attribute[@name='score']")) for box in proposed]
    np.testing.assert_allclose(scores, [row["probability"] for row in missing], atol=1e-4)
    doubted = [box for box in given if box.find("attribute") is not None]
    assert len(doubted) == len(rows) - len(missing)


def test_label_studio(output, world):
  _, truth = world
  tasks = json.loads((output / "label_studio.json").read_text())
  shown = _listed(output)[:30]
  by_name = {image.file_name: image for image in truth.images}
  assert len(tasks) == len({row["image_id"] for row in shown})
  assert all(task["data"]["image"].startswith("/data/local-files/?d=") for task in tasks)
  task = tasks[0]
  image = truth.images[0]
  assert "%22%3E%3Cimg" in task["data"]["image"]
  assert len(task["annotations"][0]["result"]) == len(image.classes)
  value = task["annotations"][0]["result"][0]["value"]
  left, top, width, height = image.boxes.xywh[0]
  np.testing.assert_allclose(
    [value[name] for name in ("x", "y", "width", "height")],
    [left / 3, top / 2, width / 3, height / 2],
    atol=1e-3,
  )
  rows = {row["id"]: row for row in shown}
  for task in tasks:
    for result in task["predictions"][0]["result"]:
      row = rows[result["id"]]
      assert result["score"] == row["probability"]
      assert result["value"]["rectanglelabels"] == [row["class"]]
      assert (result["original_width"], result["original_height"]) == (300, 200)
  assert by_name


def test_the_same_again_is_the_same(output, world):
  before = {name: (output / name).read_bytes() for name in audit_labels.FILES}
  assert audit_labels.main([*_flags(world), f"--output_dir={output}", "--num_shown=30"]) == 0
  for name, content in before.items():
    assert (output / name).read_bytes() == content


def test_what_somebody_changed_is_not_replaced(world, tmp_path, capsys):
  (tmp_path / "audit.csv").write_text("mine")
  assert audit_labels.main([*_flags(world), f"--output_dir={tmp_path}"]) == 1
  *_, line = capsys.readouterr().err.splitlines()
  assert line.startswith(f"error: --output_dir {str(tmp_path)!r}: audit.csv cannot be written: ")
  assert (tmp_path / "audit.csv").read_text() == "mine"


class TestAccept:
  """Corrected annotations, read back by the converters."""

  @pytest.fixture(name="data")
  def _data(self, tmp_path):
    """A VOC folder of 12 images, of which the first lacks a box and has one of each other kind."""
    truth, found, _ = made_up.world(11, 40, missing=0.0)
    files = {}
    for image in truth.images:
      height, width = made_up.SIZE
      objects = [
        voc_files.object_xml(
          truth.class_names[class_id - 1],
          dict(zip(("ymin", "xmin", "ymax", "xmax"), np.round(box, 2), strict=True)),
          difficult=0,
        )
        for box, class_id in zip(image.boxes.corners, image.classes, strict=True)
      ]
      files[f"image{image.image_id}.xml"] = voc_files.annotation_xml(objects, (height, width))
      picture = voc_files.picture(height, width)
      files[f"image{image.image_id}.jpg"] = voc_files.image_bytes(picture)
    voc_files.write(tmp_path / "data", files)
    return tmp_path, truth, found

  def _audit(self, folder, truth, found, flags, names):
    results = folder / "results.json"
    rows = zip(names, found, strict=True)
    detection_files.write_coco_results(results, rows, truth.category_ids)
    audit = folder / "audit"
    assert audit_labels.main([*flags, f"--output_dir={audit}", f"--predictions={results}"]) == 0
    return audit

  def _accept(self, folder, audit, flags, rows, *more):
    content = json.loads((audit / "audit.json").read_text())
    decisions = {row["id"]: "accept" for row in rows}
    rejected = next(row for row in content["candidates"] if row["id"] not in decisions)
    decisions[rejected["id"]] = "reject"
    path = folder / "decisions.json"
    path.write_text(json.dumps({"annotations": content["annotations"], "decisions": decisions}))
    return audit_labels.main([*flags, f"--output_dir={audit}", f"--accept={path}", *more])

  @pytest.mark.parametrize("kind", ["voc", "coco"])
  def test_accepted_candidates_are_in_what_is_converted(self, data, kind):
    folder, truth, found = data
    flags = [f"--data={folder / 'data'}", "--split=train"]
    names = [f"image{image.image_id}" for image in truth.images]
    audit = self._audit(folder, truth, found, flags, names)
    listed = _listed(audit)
    first = {}
    for row in listed:
      first.setdefault(row["kind"], row)
    assert first.keys() == set(candidates.KINDS)
    assert self._accept(folder, audit, flags, first.values(), f"--format={kind}") == 0
    corrected, records = audit / "corrected", folder / "again"
    if kind == "voc":
      pascal_voc.convert_split(corrected, "corrected", records)
    else:
      coco_json.convert_split(
        corrected / "annotations.json", corrected / "images", "corrected", records
      )
    read = truth_readers.read_records(f"{records}/corrected-*")
    assert read.class_names == truth.class_names
    given = truth_readers.read_records(f"{audit}/records/train-*")
    before = {image.file_name: image for image in given.images}
    after = {image.file_name: image for image in read.images}
    assert before.keys() == after.keys()
    changes = {}
    for name, image in before.items():
      changes[name] = _differences(image, after[name], truth.class_names)
    expected = {name: ([], []) for name in before}
    for row in first.values():
      gone, new = expected[row["file_name"]]
      if row["given_bbox"] is not None:
        gone.append((row["given_class"], row["given_bbox"]))
      if row["bbox"] is not None:
        new.append((row["class"], row["bbox"]))
    for name, sides in expected.items():
      for actual, wanted in zip(changes[name], sides, strict=True):
        assert [one[0] for one in sorted(actual)] == [one[0] for one in sorted(wanted)]
        for one, other in zip(sorted(actual), sorted(wanted), strict=True):
          np.testing.assert_allclose(one[1], _inside(other[1]), atol=0.02)

  def test_records_of_others_stay(self, data, capsys):
    folder, truth, found = data
    mine = folder / "audit" / "records"
    mine.mkdir(parents=True)
    (mine / "train-00000-of-00001.tfrecord").write_bytes(b"mine")
    results = folder / "results.json"
    rows = zip([f"image{image.image_id}" for image in truth.images], found, strict=True)
    detection_files.write_coco_results(results, rows, truth.category_ids)
    flags = [f"--data={folder / 'data'}", "--split=train", f"--predictions={results}"]
    assert audit_labels.main([*flags, f"--output_dir={folder / 'audit'}"]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line == (
      f"error: --output_dir: {str(mine)!r} holds files of others; accepted: a folder of its own"
    )
    assert (mine / "train-00000-of-00001.tfrecord").read_bytes() == b"mine"

  def test_coco_in_and_out(self, data):
    folder, truth, found = data
    images = folder / "data" / "JPEGImages"
    named = truth_readers.read_voc(folder / "data", "train")
    coco_truth.write_coco(named, folder / "given.json", list(range(1, 41)))
    content = json.loads((folder / "given.json").read_text())
    for entry, image in zip(content["images"], named.images, strict=True):
      entry["file_name"] = f"{image.image_id}.jpg"
    (folder / "given.json").write_text(json.dumps(content))
    flags = [f"--data={folder / 'given.json'}", f"--image_dir={images}"]
    ids = [entry["id"] for entry in content["images"]]
    order = {f"image{image.image_id}": place for place, image in enumerate(truth.images)}
    of_file = [found[order[image.image_id]] for image in named.images]
    results = folder / "results.json"
    detection_files.write_coco_results(results, zip(ids, of_file, strict=True), truth.category_ids)
    audit = folder / "audit"
    predictions = [f"--predictions={results}", "--ids_of=ground_truth"]
    assert audit_labels.main([*flags, f"--output_dir={audit}", *predictions]) == 0
    row = next(row for row in _listed(audit) if row["kind"] == candidates.MISSING)
    assert self._accept(folder, audit, flags, [row]) == 0
    after = json.loads((audit / "corrected" / "annotations.json").read_text())
    assert len(after["annotations"]) == len(content["annotations"]) + 1
    assert {entry["id"] for entry in after["images"]} == set(ids)
    assert after["categories"] == content["categories"]
    assert sorted(path.name for path in (audit / "corrected" / "images").iterdir()) == sorted(
      entry["file_name"] for entry in after["images"]
    )
    # What was converted is not converted again.
    records = sorted((audit / "records").glob("*.tfrecord"))
    before = [path.stat().st_mtime_ns for path in records]
    assert audit_labels.main([*flags, f"--output_dir={audit}", *predictions]) == 0
    assert [path.stat().st_mtime_ns for path in records] == before
    # Once more: what was corrected is not overwritten.
    assert self._accept(folder, audit, flags, [row]) == 1

  @pytest.mark.parametrize(
    ("change", "message"),
    [
      ({"annotations": "0"}, "annotations is '0', those of --data are "),
      ({"decisions": {"none": "accept"}}, "decisions: 'none' is no candidate of the audit"),
      ({"decisions": {"ID": "maybe"}}, "ID is 'maybe'; accepted: accept or reject"),
      ({"decisions": []}, "decisions is []; accepted: an object"),
    ],
  )
  def test_faulty_decisions(self, output, world, tmp_path, capsys, change, message):
    content = json.loads((output / "audit.json").read_text())
    first = content["candidates"][0]["id"]
    decisions = {"annotations": content["annotations"], "decisions": {first: "accept"}} | change
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps(decisions).replace("ID", first))
    flags = [_flags(world)[0], f"--output_dir={output}", f"--accept={path}"]
    assert audit_labels.main(flags) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ") and message.replace("ID", first) in line
    assert not (output / "corrected").exists()

  @pytest.mark.parametrize(
    ("field", "value", "message"),
    [
      ("class", "owl", "class is 'owl'; accepted: one of "),
      ("bbox", [1, 2, 0, 4], "bbox is [1, 2, 0, 4]; accepted: four numbers"),
      ("kind", "odd", "kind is 'odd'; accepted: missing, wrong_class"),
      ("image_id", "none", "image_id is 'none'; accepted: an image of --data"),
    ],
  )
  def test_faulty_lists(self, output, world, tmp_path, capsys, field, value, message):
    content = json.loads((output / "audit.json").read_text())
    row = next(row for row in content["candidates"] if row["kind"] == candidates.MISSING)
    row[field] = value
    (tmp_path / "audit.json").write_text(json.dumps(content))
    decisions = {"annotations": content["annotations"], "decisions": {row["id"]: "accept"}}
    (tmp_path / "decisions.json").write_text(json.dumps(decisions))
    path = tmp_path / "decisions.json"
    flags = [_flags(world)[0], f"--output_dir={tmp_path}", f"--accept={path}"]
    assert audit_labels.main(flags) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'audit.json'}: candidate {row['id']}: {message}")


def _inside(box):
  left, top, width, height = box
  corners = np.clip([left, top, left + width, top + height], 0, [300, 200, 300, 200])
  return [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]


def _differences(before, after, names):
  """Class and box of objects that are in the one alone, and in the other alone."""
  sides = [
    [
      (names[class_id - 1], np.round(box, 1).tolist())
      for box, class_id in zip(image.boxes.xywh, image.classes, strict=True)
    ]
    for image in (before, after)
  ]
  exact = [
    [
      (names[class_id - 1], box.tolist())
      for box, class_id in zip(image.boxes.xywh, image.classes, strict=True)
    ]
    for image in (before, after)
  ]
  return [
    [
      one
      for one, rounded in zip(exact[place], sides[place], strict=True)
      if not any(_same(rounded, other) for other in sides[1 - place])
    ]
    for place in (0, 1)
  ]


def _same(one, other):
  return one[0] == other[0] and np.allclose(one[1], other[1], atol=0.11)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--predictions=none"], "--predictions none: no files; accepted: a COCO results file"),
    (["--num_shown=-1"], "--num_shown is -1; accepted: 0 to 2000"),
    (["--split=train"], "--split train: has no use here; accepted: with a VOC folder"),
    (["--image_dir=x"], "--image_dir x: has no use here; accepted: with a COCO file"),
    (["--steps=5"], "--steps 5: has no use here; accepted: with --folds"),
    (["--checkpoint=x"], "--checkpoint x: has no use here; accepted: with --model_dir"),
    (["--format=voc"], "--format voc: has no use here; accepted: with --accept"),
    (["--data=none-*"], "--data none-*: no record files match 'none-*'; accepted: record files"),
    (["--data=x.json"], "--data x.json is a COCO file; accepted: together with --image_dir"),
  ],
)
def test_faults(world, tmp_path, monkeypatch, capsys, flags, message):
  monkeypatch.chdir(tmp_path)
  given = [flag for flag in _flags(world) if flag.split("=")[0] not in str(flags)]
  assert audit_labels.main([*given, "--output_dir=audit", *flags]) == 1
  *_, line = capsys.readouterr().err.splitlines()
  assert message in line and line.startswith("error: ")
  assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "no detections; accepted: one of --model_dir, --predictions and --folds, or --accept"),
    (["--model_dir=none"], "--model_dir 'none' is no folder; accepted: that of a training run"),
    (["--folds=2"], "--folds 2: nothing to train; accepted: with --config_file"),
    (["--folds=13", "--config_file=a.yaml"], "--folds is 13; accepted: 2 to 12, with 12 images"),
    (["--folds=2", "--config_file=a.yaml"], "--config_file 'a.yaml' is missing; accepted: a YAML"),
    (["--accept=x.json"], "is missing; accepted: the folder of an audit"),
  ],
)
def test_faults_of_detectors(world, tmp_path, monkeypatch, capsys, flags, message):
  monkeypatch.chdir(tmp_path)
  assert audit_labels.main([_flags(world)[0], "--output_dir=audit", *flags]) == 1
  *_, line = capsys.readouterr().err.splitlines()
  assert message in line and line.startswith("error: ")


def test_scores_that_are_no_probabilities(world, tmp_path, capsys):
  folder, _ = world
  rows = json.loads((folder / "results.json").read_text())
  rows[3]["score"] = 7.5
  (tmp_path / "results.json").write_text(json.dumps(rows))
  flags = [_flags(world)[0], f"--predictions={tmp_path / 'results.json'}"]
  assert audit_labels.main([*flags, f"--output_dir={tmp_path / 'audit'}"]) == 1
  *_, line = capsys.readouterr().err.splitlines()
  assert line == "error: a detection's score is 7.5; accepted: 0 to 1"


def test_voc_xml_names():
  """What keeps an image out of the file for CVAT is what `prediction.voc_xml` says of a name."""
  assert voc_xml.name_problem("a\n.png")
