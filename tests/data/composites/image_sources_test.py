"""Images of folders and records: which files are taken, what they are called, and changes."""

import os

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.composites import image_sources
from tests import fixtures


def test_endings_in_capitals_are_images_and_other_files_are_counted(tmp_path):
  for name in ("B.PNG", "README", "a.txt", "c.TXT"):
    (tmp_path / name).write_bytes(b"any")
  source = image_sources.FolderImages(str(tmp_path))
  assert len(source) == 1 and source.read(0) == ("B.PNG", b"any")
  # The most frequent kind first.
  assert list(source.passed_over.items()) == [(".txt", 2), ("without ending", 1)]
  assert (source.name, source.location) == (tmp_path.name, str(tmp_path))


def test_records_are_called_by_their_split_and_seen_to_change(tmp_path):
  examples = [
    fixtures.serialized_example(fixtures.solid_image(4, 4, value), source_id="a")
    for value in (10, 20)
  ]
  path = fixtures.write_records(tmp_path / "train-00000-of-00001.tfrecord", examples[:1])
  source = image_sources.RecordImages(path)
  assert (source.name, source.location) == ("train", str(tmp_path / "train"))
  seen = [source.signature()]
  assert image_sources.RecordImages(path).signature() == seen[0]
  os.utime(path, ns=(5, 5))
  seen.append(image_sources.RecordImages(path).signature())
  fixtures.write_records(path, examples)
  os.utime(path, ns=(5, 5))
  seen.append(image_sources.RecordImages(path).signature())
  os.rename(path, tmp_path / "val-00000-of-00001.tfrecord")
  seen.append(image_sources.RecordImages(str(tmp_path / "val-*")).signature())
  assert len(set(seen)) == 4


def test_a_record_at_fault_is_named_by_its_file_and_place_there(tmp_path):
  good = fixtures.serialized_example(fixtures.solid_image(4, 4), source_id="good")
  files = [
    fixtures.write_records(tmp_path / name, records)
    for name, records in (("a.tfrecord", [good, good]), ("b.tfrecord", [good, b"\xff"]))
  ]
  source = image_sources.RecordImages(files)
  assert source.read(2)[0] == "good"
  with pytest.raises(
    faults.FaultError, match=r"^b\.tfrecord: record 1: cannot be read \(DecodeErr"
  ):
    source.read(3)


def test_the_signature_follows_names_sizes_and_times(tmp_path):
  def signature() -> str:
    return image_sources.FolderImages(str(tmp_path)).signature()

  (tmp_path / "a.jpg").write_bytes(b"one")
  os.utime(tmp_path / "a.jpg", ns=(5, 5))
  seen = [signature()]
  assert signature() == seen[0]
  (tmp_path / "a.jpg").write_bytes(b"two")
  os.utime(tmp_path / "a.jpg", ns=(5, 6))
  seen.append(signature())
  (tmp_path / "a.jpg").write_bytes(b"three")
  os.utime(tmp_path / "a.jpg", ns=(5, 6))
  seen.append(signature())
  (tmp_path / "a.jpg").rename(tmp_path / "b.jpg")
  seen.append(signature())
  (tmp_path / "c.jpg").symlink_to("nowhere")
  seen.append(signature())
  assert len(set(seen)) == 5
