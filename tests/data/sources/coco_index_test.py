"""Tests of what only a whole COCO file shows."""

import pickle

import pytest

from mtl_ssl_tf.data.sources import coco_index
from tests.data import coco_files


def _open(tmp_path, content: bytes, index_file=None) -> coco_index.CocoIndex:
  (tmp_path / "train.json").write_bytes(content)
  return coco_index.open_index(tmp_path / "train.json", index_file)


def _faults(index) -> list[str]:
  return [str(fault).removeprefix("train.json: ") for fault in index.faults]


def test_images_find_their_annotations_in_any_order(tmp_path):
  annotations = [
    coco_files.annotation_entry(5, image_id=8),
    coco_files.annotation_entry(4),
    coco_files.annotation_entry(3, image_id=8),
  ]
  images = [coco_files.image_entry(8), coco_files.image_entry(7)]
  index = _open(tmp_path, coco_files.text(annotations, images))
  assert len(index) == 2
  assert [index.image(position)[0] for position in (0, 1)] == [8, 7]
  assert [(number, entry["id"]) for number, entry, _ in index.annotations(8)] == [(1, 5), (3, 3)]
  assert [entry["id"] for _, entry, _ in index.annotations(7)] == [4]
  assert index.faults == ()


def test_categories_in_the_order_of_their_ids(tmp_path):
  index = _open(tmp_path, coco_files.text())
  assert list(index.categories.items()) == [(1, "dog"), (3, "cat"), (90, "cow")]


@pytest.mark.parametrize(
  ("categories", "message"),
  [
    ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category 2 id: 1 repeats category 1"),
    ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "category 2 name: 'a' repeats category 1"),
    ([{"name": "a"}], "category 1 id: missing; accepted: a whole number"),
    ([{"id": "1", "name": "a"}], "category 1 id: '1'; accepted: a whole number"),
    ([{"id": 1}], "category 1 name: missing; accepted: a class name"),
    ([{"id": 1, "name": 5}], "category 1 name: 5; accepted: a class name"),
    ([{"id": 1, "name": "background"}], "category 1 name: 'background'; accepted: classes of"),
    (["a"], "category 1: 'a'; accepted: an object with id and name"),
  ],
)
def test_faulty_categories(tmp_path, categories, message):
  index = _open(tmp_path, coco_files.text(categories=categories))
  assert len(index.faults) == 1
  assert message in _faults(index)[0]
  assert list(index.categories.values()) == ["a"] * (len(categories) - 1)


@pytest.mark.parametrize(
  ("annotation", "message"),
  [
    (
      coco_files.annotation_entry(image_id=9),
      "object 1 (id 100) image_id: 9; accepted: the id of an image",
    ),
    (coco_files.annotation_entry(image_id=None), "object 1 (id 100) image_id: missing; accepted"),
    (coco_files.annotation_entry(image_id="7"), "object 1 (id 100) image_id: '7'; accepted"),
    ([7], "object 1 annotation: [7]; accepted: an object with image_id and bbox"),
  ],
)
def test_annotations_without_an_image(tmp_path, annotation, message):
  index = _open(tmp_path, coco_files.text([annotation]))
  assert len(index.faults) == 1
  assert message in _faults(index)[0]


def test_repeated_annotation_ids(tmp_path):
  index = _open(tmp_path, coco_files.text([coco_files.annotation_entry(5)] * 2))
  found = [fault for _, _, fault in index.annotations(7)]
  assert [str(fault) for fault in found] == [
    "None",
    "train.json: object 2 (id 5) id: 5 repeats annotation 1; accepted: each id once",
  ]


@pytest.mark.parametrize(
  ("entry", "message"),
  [
    (coco_files.image_entry(7, file_name="b.jpg"), "image 2 id: 7 repeats image 1"),
    (coco_files.image_entry("8"), "image 2 id: '8'; accepted: a whole number"),
    (coco_files.image_entry(None, file_name="a"), "image 2 id: missing; accepted"),
    ("8.jpg", "image 2: '8.jpg'; accepted: an object with id and file_name"),
  ],
)
def test_faulty_image_ids(tmp_path, entry, message):
  images = [coco_files.image_entry(7), entry]
  index = _open(tmp_path, coco_files.text([coco_files.annotation_entry()], images))
  assert len(index) == 2
  image_id, _, found = index.image(1)
  assert image_id is None
  assert message in str(found[0])
  assert len(list(index.annotations(7))) == 1
  assert index.faults == ()


def test_nan_becomes_a_fault_of_its_object(tmp_path):
  entries = [coco_files.annotation_entry(1, area=float("nan")), coco_files.annotation_entry(2)]
  index = _open(tmp_path, coco_files.text(entries))
  assert [entry["area"] for _, entry, _ in index.annotations(7)] == ["NaN", 60.5]


def test_the_first_message_counts_where_nan_is_not_the_matter(tmp_path):
  with pytest.raises(ValueError, match="cut short after annotations entry 1"):
    _open(tmp_path, coco_files.text([coco_files.annotation_entry(1), 5]).partition(b", 5]")[0])


class TestFile:
  def test_copies_read_the_file(self, tmp_path):
    index = _open(tmp_path, coco_files.text([coco_files.annotation_entry()]), tmp_path / "index")
    (tmp_path / "train.json").unlink()
    copy = pickle.loads(pickle.dumps(index))
    assert copy.image(0) == index.image(0)
    assert copy.categories == index.categories
    assert [path.name for path in tmp_path.iterdir()] == ["index"]

  def test_without_one_there_are_no_copies(self, tmp_path):
    with pytest.raises(TypeError, match="without a file cannot be pickled"):
      pickle.dumps(_open(tmp_path, coco_files.text()))

  def test_it_is_used_again_for_the_same_content_only(self, tmp_path):
    def open_with(content: bytes) -> bool:
      counts = []
      (tmp_path / "train.json").write_bytes(content)
      coco_index.open_index(tmp_path / "train.json", tmp_path / "index", counts.append)
      return bool(counts)

    assert open_with(coco_files.text())
    assert not open_with(coco_files.text())
    assert open_with(coco_files.text([coco_files.annotation_entry()]))
