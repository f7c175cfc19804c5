"""Tests of walking a VOC split through the protocol that all formats share."""

import os
import pickle

import pytest

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import examples
from mtl_ssl_tf.data.sources import split_source, voc_source
from tests.data import voc_files

_FILES = {
  "a.xml": voc_files.annotation_xml([voc_files.object_xml("dog"), voc_files.object_xml("cat")]),
  "b.xml": voc_files.annotation_xml([voc_files.object_xml("cow")]),
}


@pytest.fixture(name="root")
def _root(tmp_path):
  return voc_files.write(tmp_path / "voc", _FILES)


def _open(root, **options) -> voc_source.VocSource:
  return voc_source.open_split(root, "train", **options)


def test_classes_are_collected_from_sound_objects(root):
  (root / "Annotations/b.xml").write_bytes(b"")
  source = _open(root)
  assert source.classes is None
  assert [source.class_names(position) for position in range(len(source))] == [["dog", "cat"], []]
  source = split_source.collect_classes({"dog", "cat"}, source)
  assert (source.classes, source.origin) == (("cat", "dog"), "found in the annotations")


def test_converts_by_position(root, tmp_path):
  (tmp_path / "classes.txt").write_text("dog\ncat\n")
  source = _open(root, label_map_file=tmp_path / "classes.txt")
  assert [source.name(position) for position in range(2)] == ["a", "b"]
  assert [fault.field for fault in examples.convert(source, 1).faults] == ["name"]
  feature = examples.convert(source, 0).example.features.feature
  assert feature[schema.OBJECT_LABEL].int64_list.value == [1, 2]


def test_faults_of_the_split_file(root):
  with open(root / "ImageSets/Main/train.txt", "a") as file:
    file.write("a\n")
  source = _open(root)
  assert len(source) == 2
  assert [fault.field for fault in source.faults] == ["line 3"]
  assert list(source.hashes) == ["ImageSets/Main/train.txt"]


def test_a_copy_converts_alike(root, tmp_path):
  source = _open(root, index_file=tmp_path / "index").with_classes(["cat", "cow", "dog"], "given")
  copy = pickle.loads(pickle.dumps(source))
  assert [examples.convert(copy, i) for i in range(2)] == [
    examples.convert(source, i) for i in range(2)
  ]


class TestNamesInFolders:
  """Image and annotation lie in a folder within, and the annotation names an image."""

  def _read(self, root, filename: str, *others: str):
    for name in ("cam1/a.jpg", *others):
      (root / "JPEGImages" / name).parent.mkdir(exist_ok=True)
      (root / "JPEGImages" / name).touch()
    (root / "Annotations/cam1").mkdir()
    (root / "Annotations/cam1/a.xml").write_bytes(voc_files.annotation_xml(filename=filename))
    (root / "ImageSets/Main/train.txt").write_text("cam1/a\n")
    return _open(root).read_image(0)

  @pytest.mark.parametrize("filename", ["a.jpg", "a", "cam1/a.jpg"])
  def test_its_own(self, root, filename):
    image = self._read(root, filename)
    assert (image.image_file, image.notes) == ("JPEGImages/cam1/a.jpg", ())

  def test_another_one_there(self, root):
    image = self._read(root, "c.jpg", "cam1/c.jpg")
    assert [str(fault) for fault in image.faults] == [
      "Annotations/cam1/a.xml: filename: 'c.jpg' is another picture, which exists; accepted: the"
      " name of JPEGImages/cam1/a.jpg"
    ]

  def test_another_one_elsewhere(self, root):
    image = self._read(root, "b.jpg")
    assert (image.faults, image.notes) == ((), ("filename_differs",))


class TestBackground:
  def _read(self, root, **options):
    source = _open(root, missing_annotation="background", **options)
    names = [source.name(position) for position in range(len(source))]
    return source, source.read_image(names.index("c"))

  @pytest.fixture(name="picture")
  def _picture(self, root):
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/c.jpg")
    (root / "Annotations/a.xml").unlink()
    (root / "ImageSets/Main/train.txt").write_text("b\nc\n")
    return root / "JPEGImages/c.jpg"

  def test_an_image_without_annotation_has_no_object(self, root, picture):
    source, image = self._read(root)
    assert (image.objects, image.image_file) == ((), "JPEGImages/c.jpg")
    converted = examples.convert(source.with_classes(["cow"], "given"), 1)
    assert converted.notes == ("annotation_missing",)
    assert converted.example.features.feature[schema.IMAGE_WIDTH].int64_list.value == [40]
    assert _open(root).signature(1) != source.signature(1)
    assert source.class_names(1) == []

  def test_without_an_image_it_is_a_fault(self, root, picture):
    picture.unlink()
    _, image = self._read(root)
    assert (image.objects, image.notes) == (None, ())
    assert [str(fault).split(";")[0] for fault in image.faults] == ["JPEGImages/c.*: file: missing"]

  @pytest.mark.parametrize(
    ("name", "filename"), [("other", "c.jpg"), ("other", "x/c.JPG"), ("C", None), ("old/c", None)]
  )
  def test_an_image_that_another_annotation_may_mean_is_at_fault(
    self, root, picture, name, filename
  ):
    (root / "Annotations/old").mkdir()
    (root / f"Annotations/{name}.xml").write_bytes(voc_files.annotation_xml(filename=filename))
    _, image = self._read(root)
    assert image.objects is None
    near = f"; the nearest name there is '{name}.xml'" if filename is None else ""
    assert [str(fault) for fault in image.faults] == [
      f"Annotations/c.xml: file: missing{near}; accepted: its own annotation, as one"
      " without an image of its name may be meant for it"
    ]

  def test_faulty_annotations_of_no_image_are_passed_over(self, root, picture):
    (root / "Annotations/other.xml").write_bytes(b"")
    assert self._read(root)[1].objects == ()

  def test_other_values(self, root):
    message = "--missing_annotation is skip; accepted: fault or background"
    with pytest.raises(ValueError, match=message):
      _open(root, missing_annotation="skip")

  def test_without_lists_an_image_comes_once(self, root):
    (root / "ImageSets/Main/train.txt").unlink()
    (root / "ImageSets/Main").rmdir()
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/x.jpg")
    (root / "Annotations/a.xml").write_bytes(voc_files.annotation_xml(filename="x.jpg"))
    source = _open(root)
    assert [source.name(position) for position in range(len(source))] == ["a", "b"]
    assert source.read_image(0).image_file == "JPEGImages/x.jpg"


class TestSignature:
  def _signatures(self, root) -> list[str]:
    source = _open(root)
    return [source.signature(position) for position in range(len(source))]

  def test_it_stays_and_tells_images_apart(self, root):
    signatures = self._signatures(root)
    (root / "JPEGImages/of another split.jpg").touch()
    assert signatures == self._signatures(root)
    assert len(set(signatures)) == 2

  @pytest.mark.parametrize("file", ["Annotations/a.xml", "JPEGImages/a.jpg"])
  @pytest.mark.parametrize(
    "change",
    [
      lambda path: path.write_bytes(path.read_bytes() + b" "),
      lambda path: os.utime(path, ns=(0, 0)),
      lambda path: path.chmod(0o400),
      lambda path: path.unlink(),
    ],
    ids=["size", "time", "rights", "gone"],
  )
  def test_a_changed_file_changes_its_image_alone(self, root, file, change):
    before = self._signatures(root)
    change(root / file)
    after = self._signatures(root)
    assert before[0] != after[0]
    assert before[1] == after[1]

  def test_a_second_image_of_the_name(self, root):
    before = self._signatures(root)
    (root / "JPEGImages/a.png").touch()
    assert before[0] != self._signatures(root)[0]

  def test_the_image_that_only_the_annotation_names(self, root):
    (root / "Annotations/a.xml").write_bytes(voc_files.annotation_xml(filename="c.jpg"))
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/c.jpg")
    before = self._signatures(root)
    (root / "JPEGImages/c.jpg").write_bytes(b"")
    assert before[0] != self._signatures(root)[0]
