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
  assert [index.image(position)[0] for position in (0, 1)] == ["8", "7"]
  assert [(number, entry["id"]) for number, entry in index.annotations("8")] == [(1, 5), (3, 3)]
  assert [entry["id"] for _, entry in index.annotations("7")] == [4]
  assert index.faults == ()


def test_categories_in_the_order_of_their_ids(tmp_path):
  index = _open(tmp_path, coco_files.text())
  assert list(index.categories.items()) == [("1", "dog"), ("3", "cat"), ("90", "cow")]


@pytest.mark.parametrize(
  ("categories", "message"),
  [
    ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category 2 id: 1 repeats category 1"),
    ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "category 2 name: 'a' repeats category 1"),
    ([{"name": "a"}], "category 1 id: missing; accepted: a number or a name"),
    ([{"id": True, "name": "a"}], "category 1 id: True; accepted: a number or a name"),
    ([{"id": 1}], "category 1 name: missing; accepted: a class name"),
    ([{"id": 1, "name": 5}], "category 1 name: 5; accepted: a class name"),
    ([{"id": 1, "name": "#a"}], "category 1 name: '#a'; accepted: a class name"),
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
    (coco_files.annotation_entry(image_id="07"), "object 1 (id 100) image_id: '07'; accepted"),
    ([7], "object 1 annotation: [7]; accepted: an object with image_id and bbox"),
  ],
)
def test_annotations_without_an_image(tmp_path, annotation, message):
  index = _open(tmp_path, coco_files.text([annotation]))
  assert len(index.faults) == 1
  assert message in _faults(index)[0]


@pytest.mark.parametrize("ids", [[5, 5, 6], [5, None, 6], [5, "a", 6], [5, 2**63, 6]])
def test_annotation_ids_that_cannot_be_used_give_way_to_places(tmp_path, ids):
  entries = [coco_files.annotation_entry(own_id) for own_id in ids]
  index = _open(tmp_path, coco_files.text(entries))
  assert ["id" in entry for _, entry in index.annotations("7")] == [False] * 3
  assert [(remark.kind, remark.is_warning) for remark in index.remarks] == [
    ("ids_from_place", False)
  ]
  assert "in 1 of 3 annotations; the places in the file are the ids" in str(index.remarks[0].fault)


def test_ids_are_compared_as_text(tmp_path):
  annotations = [coco_files.annotation_entry(1, image_id="7"), coco_files.annotation_entry("2")]
  index = _open(
    tmp_path, coco_files.text(annotations, [coco_files.image_entry(7.0, file_name="7.jpg")])
  )
  assert (index.faults, index.remarks) == ((), ())
  assert [number for number, _ in index.annotations("7")] == [1, 2]


class TestCategoriesThatAreNoClasses:
  def _categories(self, tmp_path, categories, **changes):
    content = coco_files.text([coco_files.annotation_entry(**changes)], categories=categories)
    return _open(tmp_path, content)

  def test_the_group_of_all_others(self, tmp_path):
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}]
    categories += [{"id": i, "name": n, "supercategory": "pets"} for i, n in ((3, "cat"), (4, "b"))]
    index = self._categories(tmp_path, categories)
    assert list(index.categories.values()) == ["cat", "b"]
    assert [remark.kind for remark in index.remarks] == ["category_left_out"]
    assert "'pets' has no boxes and is the group of all others" in str(index.remarks[0].fault)
    # With a box it is a class, and so is the group of some others only.
    assert "pets" in self._categories(tmp_path, categories, category_id=0).categories.values()
    categories[2]["supercategory"] = "none"
    assert "pets" in self._categories(tmp_path, categories).categories.values()

  @pytest.mark.parametrize("name", ["background", "_background_", "__Background__"])
  def test_the_background(self, tmp_path, name):
    categories = [{"id": 0, "name": name}, *coco_files.CATEGORIES]
    index = self._categories(tmp_path, categories)
    assert name not in index.categories.values()
    assert index.faults == ()

  @pytest.mark.parametrize("name", ["background", "_background_"])
  def test_the_background_with_boxes_is_a_fault(self, tmp_path, name):
    categories = [{"id": 0, "name": name}, *coco_files.CATEGORIES]
    index = self._categories(tmp_path, categories, category_id=0)
    assert f"category 1 name: '{name}'; accepted: classes of objects" in _faults(index)[0]

  def test_an_entry_that_says_there_is_no_object_uses_none(self, tmp_path):
    categories = [{"id": 0, "name": "background"}, *coco_files.CATEGORIES]
    changes = {"category_id": 0, "bbox": [], "segmentation": []}
    assert self._categories(tmp_path, categories, **changes).faults == ()


def test_blanks_around_names_do_not_count(tmp_path):
  index = _open(tmp_path, coco_files.text(categories=[{"id": 1, "name": " cat "}]))
  assert index.categories == {"1": "cat"}


def test_files_under_several_ids_are_told(tmp_path):
  images = [coco_files.image_entry(i, file_name=name) for i, name in enumerate("aab")]
  index = _open(tmp_path, coco_files.text(images=images))
  assert [(remark.kind, remark.is_warning) for remark in index.remarks] == [("file_repeated", True)]
  assert "images: file_name: 'a' (2 times): each becomes several" in str(index.remarks[0].fault)


def test_repeated_files_are_told_in_the_order_of_the_file(tmp_path):
  images = [coco_files.image_entry(i, file_name=name) for i, name in enumerate("dbcbdb")]
  index = _open(tmp_path, coco_files.text(images=[*images, {"id": 8}, {"id": 9}]))
  (remark,) = index.remarks
  assert remark.fault.value.startswith("'d' (2 times), 'b' (3 times): each becomes several")


def test_ids_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
  categories = [{"id": i, "name": f"n{i}"} for i in (10, 9, 2, -1)]
  index = _open(tmp_path, coco_files.text(categories=categories))
  assert list(index.categories) == ["-1", "2", "9", "10"]
  index = _open(tmp_path, coco_files.text(categories=[*categories, {"id": "a", "name": "b"}]))
  assert list(index.categories) == ["10", "9", "2", "-1", "a"]


def test_paths_with_one_end_are_counted_once_each(tmp_path):
  names = ["a/b/c.jpg", "a/b/c.jpg", "x/b/c.jpg", "x/d.jpg", "x/d.jpg", "b/cc.jpg"]
  images = [coco_files.image_entry(i, file_name=name) for i, name in enumerate(names)]
  index = _open(tmp_path, coco_files.text(images=images))
  ends = {"c.jpg": 2, "b/c.jpg": 2, "a/b/c.jpg": 1, "d.jpg": 1, "x/d.jpg": 1, "cc.jpg": 1, "e": 0}
  assert {end: index.num_names_ending(end) for end in ends} == ends


def test_polygons_are_read_where_a_box_is_missing(tmp_path):
  polygons = [[2, 4, 12, 4, 12, 14.5], [1, 9, 3, 9, 3, 10]]
  entries = [
    coco_files.annotation_entry(1, bbox=None, segmentation=polygons),
    coco_files.annotation_entry(2, bbox=[], segmentation={"counts": [1], "size": [2, 3]}),
    coco_files.annotation_entry(3, bbox=[], segmentation=["no number"]),
    coco_files.annotation_entry(4, bbox=[], segmentation=[[]]),
  ]
  index = _open(tmp_path, coco_files.text(entries))
  found = [entry.get("segmentation") for _, entry in index.annotations("7")]
  assert found == [[1, 4, 12, 14.5], True, True, None]


def test_large_integers_matter_only_where_they_are_read(tmp_path):
  images = [coco_files.image_entry(2**70, phash=2**64 - 1, file_name="7.jpg")]
  annotation = coco_files.annotation_entry(image_id=2**70)
  index = _open(tmp_path, coco_files.text([annotation], images))
  assert index.image(0)[0] == str(2**70)
  assert len(list(index.annotations(str(2**70)))) == 1


@pytest.mark.parametrize(
  ("entry", "message"),
  [
    (
      coco_files.image_entry(7, file_name="b.jpg"),
      "image 2 id: 7 repeats image 1; accepted: each id once, not for '7.jpg' and for 'b.jpg'",
    ),
    (coco_files.image_entry("7", file_name="b"), "image 2 id: '7' repeats image 1"),
    (coco_files.image_entry(1.5), "image 2 id: 1.5; accepted: a number or a name"),
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
  assert len(list(index.annotations("7"))) == 1
  assert index.faults == ()


def test_nan_becomes_a_fault_of_its_object(tmp_path):
  entries = [coco_files.annotation_entry(1, area=float("nan")), coco_files.annotation_entry(2)]
  index = _open(tmp_path, coco_files.text(entries))
  assert [entry["area"] for _, entry in index.annotations("7")] == ["NaN", 60.5]


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

  def test_one_of_another_version_is_made_again(self, tmp_path, monkeypatch):
    _open(tmp_path, coco_files.text(), tmp_path / "index")
    monkeypatch.setattr(coco_index, "_VERSION", 99)
    counts = []
    coco_index.open_index(tmp_path / "train.json", tmp_path / "index", counts.append)
    assert counts
