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
