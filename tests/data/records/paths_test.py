"""Tests of records/paths.py."""

import os
import tempfile

from absl.testing import parameterized

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import paths as record_paths
from tests import fixtures


class SplitNameTest(parameterized.TestCase):
  @parameterized.parameters(
    ("records/test-00001-of-00004.tfrecord", "test"),
    ("gs://bucket/val.tfrecord", "val"),
    ("my-split-00000-of-00001.tfrecord", "my-split"),
  )
  def test_of_a_file(self, file, split):
    self.assertEqual(record_paths.split_name(file), split)


class MatchFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def _write(self, *shard_sizes, split="train"):
    """Shards of so many records; returns their pattern."""
    for shard, size in enumerate(shard_sizes):
      name = schema.shard_file(split, shard, len(shard_sizes))
      fixtures.write_records(os.path.join(self.folder, name), [b"x"] * size)
    return os.path.join(self.folder, f"{split}-*.tfrecord")

  def test_path_pattern_folder_and_list(self):
    pattern = self._write(1, 1)
    first, second = (pattern.replace("*", f"0000{i}-of-00002") for i in range(2))
    self.assertEqual(record_paths.match_files(first), [first])
    self.assertEqual(record_paths.match_files(pattern), [first, second])
    self.assertEqual(record_paths.match_files(self.folder), [first, second])
    self.assertEqual(record_paths.match_files([second, pattern]), [second, first])

  def test_a_path_with_brackets_is_no_pattern(self):
    path = fixtures.write_records(os.path.join(self.folder, "a[1].tfrecord"), [b"x"])
    self.assertEqual(record_paths.match_files(path), [path])

  @parameterized.parameters(("", "''"), ([], r"\[\]"), ("/no/such-*.tfrecord", "/no/such-*"))
  def test_nothing_matches(self, input_path, shown):
    with self.assertRaisesRegex(ValueError, f"input_path.*{shown}"):
      record_paths.match_files(input_path)

  def test_a_folder_without_records(self):
    with self.assertRaisesRegex(ValueError, self.folder):
      record_paths.match_files(self.folder)

  def test_a_folder_with_two_splits(self):
    self._write(1, split="train")
    self._write(1, split="test")
    with self.assertRaisesRegex(ValueError, r"\(test, train\).*test-\*"):
      record_paths.match_files(self.folder)

  def test_count_examples(self):
    pattern = self._write(3, 0, 2)
    self.assertEqual(record_paths.count_examples(pattern), 5)
    self.assertEqual(record_paths.count_examples(f"file://{pattern}"), 5)
