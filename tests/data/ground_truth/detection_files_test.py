"""Result files: written, read back to the bit, and refused where they are at fault."""

import dataclasses
import json
import os

import numpy as np
import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth

NAMES, CATEGORIES = ("cat", "wild cat", "n/a"), (7, 18, 90)


def make_truth(*image_ids, names=NAMES):
  boxes, none = ground_truth.Boxes.from_corners(np.zeros([0, 4])), np.zeros(0)
  flags = none.astype(bool)
  images = tuple(
    ground_truth.ImageTruth(
      image_id, f"photo {image_id}.jpg", None, boxes, none.astype(int), flags, flags, none
    )
    for image_id in image_ids
  )
  return ground_truth.GroundTruth("truth.json", names, CATEGORIES[: len(names)], images)


def make_detections(seed, count=5):
  rng = np.random.default_rng(seed)
  corner = rng.uniform(0, 100, [count, 2])
  corners = np.concatenate([corner, corner + rng.uniform(0, 50, [count, 2])], axis=1)
  return detection_files.Detections(
    # As the detector gives them.
    ground_truth.Boxes.from_corners(corners.astype(np.float32)),
    rng.uniform(size=count).astype(np.float32).astype(np.float64),
    rng.integers(1, 4, count),
  )


def assert_same(found, expected):
  """Equal to the bit; comp4 files keep the order within each class alone."""
  order = np.argsort(expected.classes, kind="stable")
  by_class = np.argsort(found.classes, kind="stable")
  for name in ("scores", "classes"):
    np.testing.assert_array_equal(
      getattr(found, name)[by_class], getattr(expected, name)[order], strict=True
    )
  for name in ("corners", "xywh"):
    np.testing.assert_array_equal(
      getattr(found.boxes, name)[by_class], getattr(expected.boxes, name)[order], strict=True
    )


class TestRoundTrip:
  TRUTH = make_truth("7", "12", "100")
  FOUND = (make_detections(0), detection_files.no_detections(), make_detections(1, 40))

  def test_coco(self, tmp_path):
    path = tmp_path / "results.json"
    ids = self.TRUTH.coco_image_ids
    detection_files.write_coco_results(path, zip(ids, self.FOUND, strict=True), CATEGORIES)
    rows = json.loads(path.read_text())
    assert len(rows) == 45
    assert rows[0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert {row["image_id"] for row in rows} == {7, 100}
    assert {row["category_id"] for row in rows} == set(CATEGORIES)
    for found, expected in zip(
      detection_files.read_predictions(str(path), self.TRUTH, "ground_truth"),
      self.FOUND,
      strict=True,
    ):
      assert_same(found, expected)

  @pytest.mark.parametrize("kind", ["folder", "pattern"])
  def test_comp4(self, tmp_path, kind):
    ids = [image.image_id for image in self.TRUTH.images]
    detection_files.write_comp4(tmp_path, "val", zip(ids, self.FOUND, strict=True), NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
      "comp4_det_val_cat.txt",
      "comp4_det_val_n%2Fa.txt",
      "comp4_det_val_wild cat.txt",
    ]
    path = str(tmp_path) if kind == "folder" else str(tmp_path / "comp4_det_val_*.txt")
    for found, expected in zip(
      detection_files.read_predictions(path, self.TRUTH), self.FOUND, strict=True
    ):
      assert_same(found, expected)

  def test_order_within_an_image_is_kept(self, tmp_path):
    path = tmp_path / "results.json"
    detection_files.write_coco_results(path, [(7, self.FOUND[2])], CATEGORIES)
    found = detection_files.read_predictions(str(path), self.TRUTH, "ground_truth")[0]
    np.testing.assert_array_equal(found.scores, self.FOUND[2].scores)

  def test_names_that_are_no_text(self, tmp_path):
    name = os.fsdecode(b"a\xff")
    detection_files.write_comp4(tmp_path, "val", [(name, self.FOUND[0])], NAMES)
    found = detection_files.read_predictions(str(tmp_path), make_truth("b", name))
    assert_same(found[1], self.FOUND[0])

  def test_paths_that_could_be_patterns(self, tmp_path):
    folder = tmp_path / "a[1]"
    folder.mkdir()
    detection_files.write_comp4(folder, "[v]", [("7", self.FOUND[0])], NAMES)
    assert_same(detection_files.read_predictions(str(folder), self.TRUTH)[0], self.FOUND[0])
    path = str(folder / detection_files.comp4_file("[v]", "cat"))
    (found, *_) = detection_files.read_predictions(path, self.TRUTH)
    assert found.scores.tolist() == self.FOUND[0].scores[self.FOUND[0].classes == 1].tolist()
    path = folder / "results.JSON"
    detection_files.write_coco_results(path, [(7, self.FOUND[0])], CATEGORIES)
    found = detection_files.read_predictions(str(path), self.TRUTH, "ground_truth")
    assert_same(found[0], self.FOUND[0])

  def test_names_with_blanks(self, tmp_path):
    truth = make_truth("my image", "other")
    detection_files.write_comp4(tmp_path, "val", [("my image", self.FOUND[0])], NAMES)
    assert_same(detection_files.read_predictions(str(tmp_path), truth)[0], self.FOUND[0])


class TestComp4:
  def read(self, tmp_path, text, name="comp4_det_test_cat.txt", truth=None):
    (tmp_path / name).write_text(text)
    return detection_files.read_predictions(
      str(tmp_path / name), truth or make_truth("000012", "b")
    )

  def message(self, *args, **options):
    with pytest.raises(ValueError) as error:
      self.read(*args, **options)
    return str(error.value)

  def test_line(self, tmp_path):
    line = "000012 0.5 2 1 30.5 20\n"
    found = self.read(tmp_path, line)[0]
    np.testing.assert_array_equal(found.boxes.corners, [[1, 2, 20, 30.5]])
    np.testing.assert_array_equal(found.scores, [0.5])
    # Written as it stands: nothing is added or taken away.
    detection_files.write_comp4(tmp_path, "again", [("000012", found)], NAMES)
    again = (tmp_path / "comp4_det_again_cat.txt").read_text()
    assert again == "000012 0.5 2.0 1.0 30.5 20.0\n"

  def test_blanks_around_a_line(self, tmp_path):
    (tmp_path / "comp4_det_test_cat.txt").write_bytes(b"  b  0.5 2 1 30.5 20 \r\n \r\n")
    found = detection_files.read_predictions(str(tmp_path), make_truth("b"))[0]
    np.testing.assert_array_equal(found.boxes.corners, [[1, 2, 20, 30.5]])

  def test_known_by_the_name_of_the_file(self, tmp_path):
    truth = make_truth("1", "2")
    assert len(self.read(tmp_path, "photo 2 0.5 1 1 2 2\n", truth=truth)[1].scores) == 1

  def test_the_longest_class_name_counts(self, tmp_path):
    truth = make_truth("b", names=("cat", "wild_cat"))
    found = self.read(tmp_path, "b 0.5 1 1 2 2", name="comp4_det_test_wild_cat.txt", truth=truth)
    assert found[0].classes.tolist() == [2]

  def test_empty_file_is_a_class_without_detections(self, tmp_path):
    assert len(self.read(tmp_path, "")[0].scores) == 0

  @pytest.mark.parametrize(
    ("line", "message"),
    [
      ("b 0.5 1 1 2", "line 2: 'b 0.5 1 1 2'; accepted: image name, score, xmin, ymin, xmax, ymax"),
      ("b nan 1 1 2 2", "line 2: score: 'nan'; accepted: a finite number"),
      ("b 0.5 1 one 2 2", "line 2: ymin: 'one'; accepted: a finite number"),
      ("b 0.5 1 1 inf 2", "line 2: xmax: 'inf'; accepted: a finite number"),
      ("b 0.5 3 1 2 2", "line 2: xmax: 2.0; accepted: at least xmin 3"),
      ("b 0.5 1 3 2 2", "line 2: ymax: 2.0; accepted: at least ymin 3"),
      ("c 0.5 1 1 2 2", "line 2: image name: 'c'; accepted: an image of truth.json"),
    ],
  )
  def test_faulty_line(self, tmp_path, line, message):
    found = self.message(tmp_path, f"b 0.5 1 1 2 2\n{line}\n")
    assert found == f"{tmp_path}/comp4_det_test_cat.txt: {message}"

  def test_two_names_of_one_image(self, tmp_path):
    lines = "b 0.5 1 1 2 2\nphoto b.jpg 0.5 1 1 2 2\n"
    assert self.message(tmp_path, lines) == (
      f"{tmp_path}/comp4_det_test_cat.txt: line 2: image name: 'photo b.jpg' is the image that is"
      " called 'b' too; accepted: one name for each image"
    )
    for name, line in (("cat", "b 0.5 1 1 2 2\n"), ("wild cat", "photo b 0.5 1 1 2 2\n")):
      (tmp_path / f"comp4_det_test_{name}.txt").write_text(line)
    with pytest.raises(faults.FaultError, match=r"wild cat.txt: line 1: image name: 'photo b' is"):
      detection_files.read_predictions(str(tmp_path), make_truth("000012", "b"))

  def test_unknown_class(self, tmp_path):
    message = self.message(tmp_path, "", name="comp4_det_test_owl.txt")
    assert message == (
      f"{tmp_path}/comp4_det_test_owl.txt: file name: 'comp4_det_test_owl.txt'; accepted:"
      " comp4_det_<split>_<class>.txt with one of the classes cat, wild cat, n/a"
    )
    assert "file name: 'cat.txt'" in self.message(tmp_path, "", name="cat.txt")

  def test_two_splits(self, tmp_path):
    for split in ("val", "test"):
      (tmp_path / f"comp4_det_{split}_cat.txt").write_text("")
    with pytest.raises(ValueError, match=r"of class cat, as is .*accepted: one file for each"):
      detection_files.read_predictions(str(tmp_path), make_truth("b"))

  def test_no_files(self, tmp_path):
    for path in (str(tmp_path), str(tmp_path / "none-*.txt")):
      with pytest.raises(ValueError, match=r"^--predictions .*: no files; accepted: a COCO"):
        detection_files.read_predictions(path, make_truth("b"))


ROW = {"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}


class TestCoco:
  def read(self, tmp_path, content, truth=None):
    path = tmp_path / "r.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    truth = truth or make_truth("7", "12")
    return detection_files.read_predictions(str(path), truth, "ground_truth")

  def message(self, *args, **options):
    with pytest.raises(ValueError) as error:
      self.read(*args, **options)
    return str(error.value)

  def test_row(self, tmp_path):
    found, other = self.read(tmp_path, [ROW])
    np.testing.assert_array_equal(found.boxes.corners, [[2, 1, 6, 4]])
    assert (found.scores.tolist(), found.classes.tolist()) == ([0.5], [2])
    assert len(other.scores) == 0

  def test_no_detections(self, tmp_path):
    assert all(len(found.scores) == 0 for found in self.read(tmp_path, []))

  def test_image_ids_as_text(self, tmp_path):
    assert len(self.read(tmp_path, [{**ROW, "image_id": "7"}])[0].scores) == 1
    truth = make_truth("000012")
    assert len(self.read(tmp_path, [{**ROW, "image_id": "000012"}], truth)[0].scores) == 1

  @pytest.mark.parametrize(
    ("changed", "message"),
    [
      ({"image_id": 8}, "entry 2: image_id: 8; accepted: an image of truth.json"),
      ({"image_id": None}, "entry 2: image_id: None; accepted: an image of truth.json"),
      ({"image_id": True}, "entry 2: image_id: True; accepted: an image of truth.json"),
      (
        {"category_id": 8},
        "entry 2: category_id: 8; accepted: a category of truth",
      ),
      (
        {"category_id": "07"},
        "entry 2: category_id: '07'; accepted: a category of truth",
      ),
      ({"category_id": True}, "entry 2: category_id: True; accepted: a category of truth.json: 7"),
      ({"score": float("nan")}, "entry 2: score: nan; accepted: a finite number"),
      ({"score": "0.5"}, "entry 2: score: '0.5'; accepted: a finite number"),
      ({"score": None}, "entry 2: score: None; accepted: a finite number"),
      ({"bbox": [1, 2, 3, -4]}, "entry 2: bbox: [1, 2, 3, -4]; accepted: a width and height of at"),
      ({"bbox": [1, 2, 3]}, "entry 2: bbox: [1, 2, 3]; accepted: four finite numbers"),
      ({"bbox": [1, 2, 3, True]}, "entry 2: bbox: [1, 2, 3, True]; accepted: four finite numbers"),
    ],
  )
  def test_faulty_entry(self, tmp_path, changed, message):
    found = self.message(tmp_path, [ROW, {**ROW, **changed}])
    assert found.startswith(f"{tmp_path}/r.json: {message}")
    assert "\n" not in found

  def test_reading_ends_with_the_twentieth_fault(self, tmp_path):
    lines = self.message(tmp_path, [{**ROW, "score": None}] * 30).splitlines()
    assert len(lines) == 20
    assert lines[-1] == f"{tmp_path}/r.json: entry 20: score: None; accepted: a finite number"

  def test_an_id_and_a_name_of_one_image(self, tmp_path):
    message = self.message(tmp_path, [ROW, {**ROW, "image_id": "photo 7.jpg"}])
    assert message == (
      f"{tmp_path}/r.json: entry 2: image_id: 'photo 7.jpg' is the image that is called 7 too;"
      " accepted: one name for each image"
    )

  def test_no_list(self, tmp_path):
    assert "r.json: file: dict; accepted: a list of {image_id," in self.message(tmp_path, {})
    assert "r.json: file: no JSON" in self.message(tmp_path, "image 7")
    assert "entry 1: 5; accepted: an object with image_id" in self.message(tmp_path, [5])

  def test_another_data_set(self, tmp_path):
    message = self.message(tmp_path, [{**ROW, "image_id": 1}, {**ROW, "image_id": 2}])
    assert message == (
      f"{tmp_path}/r.json: no image in common with truth.json: 2 detections, the first in 1;"
      " accepted: images of the ground truth, such as '7'"
    )

  def test_no_file(self, tmp_path):
    with pytest.raises(faults.FaultError, match=r"r.json: file: cannot be read"):
      detection_files.read_predictions(str(tmp_path / "r.json"), make_truth("7"))


class TestIds:
  """Ids of results that are others in the ground truth: images are joined by their names."""

  # As `predict` numbers photo 12 and photo 7; in the ground truth, 1 and 2 are others.
  KNOWN = {  # noqa: RUF012 - never changed
    "images": [
      {"id": 1, "file_name": "photo 12.jpg"},
      {"id": 2, "file_name": "deep/photo 7.png"},
      {"id": 3, "file_name": "of no detection.jpg"},
    ],
    "categories": [{"id": 1, "name": "wild cat"}, {"id": 2, "name": "owl"}],
  }

  def read(self, tmp_path, rows, *ids_of, known=None, beside="r_ids.json", truth=None):
    (tmp_path / "r.json").write_text(json.dumps(rows))
    (tmp_path / beside).write_text(json.dumps(known or self.KNOWN))
    truth = truth or make_truth("12", "7", "1", "2")
    return detection_files.read_predictions(str(tmp_path / "r.json"), truth, *ids_of)

  @pytest.mark.parametrize("beside", ["r_ids.json", "coco_ground_truth.json"])
  def test_by_the_file_beside(self, tmp_path, beside):
    rows = [{**ROW, "image_id": 1, "category_id": 1}, {**ROW, "image_id": "2", "category_id": "1"}]
    found = self.read(tmp_path, rows, beside=beside)
    assert [image.classes.tolist() for image in found] == [[2], [2], [], []]

  def test_by_a_file_that_is_named(self, tmp_path):
    rows = [{**ROW, "image_id": 2, "category_id": 1}]
    found = self.read(tmp_path, rows, str(tmp_path / "x.json"), beside="x.json")
    assert [len(image.classes) for image in found] == [0, 1, 0, 0]

  def test_a_class_that_is_none_here_matters_with_detections_alone(self, tmp_path):
    rows = [{**ROW, "image_id": 2, "category_id": 2}]
    with pytest.raises(faults.FaultError, match="categories: name: 'owl'; accepted: the classes"):
      self.read(tmp_path, rows)

  def test_bare_numbers_are_refused(self, tmp_path):
    with pytest.raises(ValueError, match="nothing says which images they stand for; accepted: r_i"):
      self.read(tmp_path, [ROW], beside="other.json")
    assert len(self.read(tmp_path, [], beside="other2.json")) == 4

  def test_a_file_of_something_else(self, tmp_path):
    with pytest.raises(faults.FaultError, match=r"x_ids.json: categories: missing"):
      known = {"images": []}
      (tmp_path / "x_ids.json").write_text(json.dumps(known))
      self.read(tmp_path, [ROW], str(tmp_path / "x_ids.json"))

  def test_ids_that_are_in_the_names_of_the_files_are_no_mere_numbers(self, tmp_path):
    truth = make_truth("139", "285")
    images = [
      dataclasses.replace(image, file_name=f"{folder}{int(image.image_id):012d}.jpg")
      for image, folder in zip(truth.images, ("", "COCO_val2014_"), strict=True)
    ]
    truth = dataclasses.replace(truth, images=tuple(images))
    found = self.read(tmp_path, [{**ROW, "image_id": 285}], beside="o.json", truth=truth)
    assert [len(image.classes) for image in found] == [0, 1]

  def known(self, *names):
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    return self.KNOWN | {"images": images}

  def test_two_files_of_one_last_name(self, tmp_path):
    # The second one has no detections; nevertheless nobody knows whose the others are.
    known = self.known("a/photo 7.jpg", "x.jpg", "b/photo 7.png")
    with pytest.raises(faults.FaultError) as error:
      self.read(tmp_path, [{**ROW, "image_id": 1, "category_id": 1}], known=known)
    assert str(error.value).endswith(
      "images: entry 3: file_name: 'a/photo 7.jpg' and 'b/photo 7.png' are the same image of"
      " truth.json; accepted: each image once"
    )

  def test_a_path_counts_more_than_a_last_name(self, tmp_path):
    known = self.known("a/photo 7.jpg", "photo 7.jpg")
    found = self.read(tmp_path, [{**ROW, "image_id": 2, "category_id": 1}], known=known)
    assert [len(image.classes) for image in found] == [0, 1, 0, 0]
    rows = [{**ROW, "image_id": number, "category_id": 1} for number in (1, 2)]
    with pytest.raises(
      faults.FaultError, match=r"entry 1: file_name: 'a/photo 7.jpg'; accepted: an"
    ):
      self.read(tmp_path, rows, known=known)

  @pytest.mark.parametrize(
    ("entry", "message"),
    [
      ({"id": 1, "file_name": "photo 7.jpg"}, "id: 1 is that of 'photo 12.jpg' and of 'photo 7.j"),
      ({"id": "1", "file_name": "x\n"}, r"id: '1' is that of 'photo 12.jpg' and of 'x\n'; acc"),
      ({"id": 9, "file_name": "photo 12.jpg"}, "file_name: 'photo 12.jpg' and 'photo 12.jpg' ar"),
      ({"file_name": "photo 1.jpg"}, "id: None; accepted: a number or a name"),
    ],
  )
  def test_images_that_are_listed_twice(self, tmp_path, entry, message):
    known = self.KNOWN | {"images": [*self.KNOWN["images"], entry]}
    with pytest.raises(faults.FaultError) as error:
      self.read(tmp_path, [{**ROW, "image_id": 1, "category_id": 1}], known=known)
    assert f"images: entry 4: {message}" in str(error.value)

  def test_names_that_two_images_share_say_nothing(self, tmp_path):
    truth = make_truth("1", "2")
    images = [
      dataclasses.replace(image, file_name=f"{folder}/photo 12.jpg")
      for image, folder in zip(truth.images, "ab", strict=True)
    ]
    truth = dataclasses.replace(truth, images=tuple(images))
    with pytest.raises(ValueError, match=r"no image in common with truth.json"):
      self.read(tmp_path, [{**ROW, "image_id": 1, "category_id": 1}], truth=truth)


class TestCocoDataSet:
  """What `predict` writes: its own numbers, known by names."""

  CONTENT = {  # noqa: RUF012 - never changed
    "images": [
      {"id": 1, "file_name": "photos/photo 12.png"},
      {"id": 2, "file_name": "photo 7.jpg"},
    ],
    "categories": [{"id": 1, "name": "n/a"}, {"id": 2, "name": "cat"}],
    "annotations": [
      {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, "id": 1},
      {"image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.25, "id": 2},
    ],
  }

  def test_read(self, tmp_path):
    first, second = TestCoco().read(tmp_path, self.CONTENT)
    assert (first.scores.tolist(), first.classes.tolist()) == ([0.25], [1])
    assert (second.scores.tolist(), second.classes.tolist()) == ([0.5], [3])

  def test_unknown_class(self, tmp_path):
    content = {**self.CONTENT, "categories": [{"id": 1, "name": "owl"}, {"id": 2, "name": "cat"}]}
    message = TestCoco().message(tmp_path, content)
    assert message.startswith(f"{tmp_path}/r.json: categories: name: 'owl'; accepted: the classes")

  def test_two_files_of_one_last_name(self, tmp_path):
    images = [{"id": 1, "file_name": "a/photo 7.jpg"}, {"id": 2, "file_name": "b/photo 7.jpg"}]
    message = TestCoco().message(tmp_path, {**self.CONTENT, "images": images})
    assert "'a/photo 7.jpg' and 'b/photo 7.jpg' are the same image of truth.json" in message

  def test_unknown_image(self, tmp_path):
    images = [{"id": 1, "file_name": "x.png"}, {"id": 2, "file_name": "photo 7.jpg"}]
    message = TestCoco().message(tmp_path, {**self.CONTENT, "images": images})
    assert (
      message == f"{tmp_path}/r.json: entry 1: file_name: 'x'; accepted: an image of truth.json"
    )
