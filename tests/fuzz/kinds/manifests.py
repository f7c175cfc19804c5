"""Manifests, lists of pictures and label maps next to records, and what JSON alone says."""

import collections
import json
import pathlib
import random
import re

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.ground_truth import truth_readers
from mtl_ssl_tf.data.inspection import shard_checks
from mtl_ssl_tf.data.records import manifests, pictures
from mtl_ssl_tf.data.records import writer as record_writer
from tests.fuzz import framing, mutations, odd_values, outcomes
from tests.fuzz.kinds import base, records

_SPLITS = ("train", "val")


class Cases(base.Kind):
  """See above."""

  name = "manifests"
  about = "manifest_*.json and pictures_*.tsv"

  @classmethod
  def prepare(cls, folder: pathlib.Path) -> None:
    for split in _SPLITS:
      with record_writer.SplitWriter(
        folder, split, records.CLASSES, num_images=3, num_shards=2
      ) as writer:
        for position in range(3):
          writer.write(records.seed_example(position), position)
        writer.commit(category_ids={"cat": 3, "dog": 1, "cow": 90})

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._files = {path.name: path.read_bytes() for path in sorted(prepared.iterdir())}
    self.write(self._files)
    self._names = [name for name in self._files if name.endswith((".json", ".tsv"))]

  def seeds(self) -> list[base.Files]:
    return [{}]

  def make(self, rng: random.Random) -> base.Files:
    name = rng.choice(self._names + [schema.manifest_file("train")] * 4)
    content = self._files[name]
    if name.endswith(".tsv") or rng.random() < 0.3:
      return {name: mutations.mutate(rng, [content])}
    value = odd_values.as_members(json.loads(content))
    for _ in range(rng.randint(1, 3)):
      value = odd_values.mutate(rng, value)
    return {name: odd_values.encode(rng, odd_values.dumps(value, rng))}

  def check(self, files: base.Files) -> bool:
    self.write(self._files | files)
    shards = sorted(str(path) for path in self.scratch.glob("train-*.tfrecord"))
    others = sorted(str(path) for path in self.scratch.glob("val-*.tfrecord"))
    # The number of records is that of lines in the list.
    num_records = dict.fromkeys(shards, 0)
    for path in shards:
      num_records[path] = len(framing.unframe(pathlib.Path(path).read_bytes())[0])
    findings = shard_checks.check_manifests(num_records, records.CLASSES)
    findings += shard_checks.check_shards(shards)
    for finding in findings:
      outcomes.check_message(str(finding))
    for line in pictures.lines_on_shared(self.scratch, "train", list(map(_name, shards))):
      outcomes.check_message(line)
    shared = pictures.shared(shards, others)
    outcomes.check_message(str(shared and shared.number))
    truth = truth_readers.read_records(shards)
    has_none, lines = manifests.boxes_missing(shards, records.CLASSES)
    for line in lines:
      outcomes.check_message(line)
    plain = _plain(self.scratch / schema.manifest_file("train"))
    if plain is None:
      return False
    ids = plain.get("category_ids")
    is_complete = isinstance(ids, dict) and set(records.CLASSES) <= set(ids)
    wanted = [ids[name] for name in records.CLASSES] if is_complete else [1, 2, 3]
    outcomes.check_equal(list(truth.category_ids), wanted, "category ids")
    if lines and not has_none:
      boxes = collections.Counter(plain["boxes_per_class"])
      unused = [name for name in records.CLASSES if not boxes[name]]
      outcomes.check_equal("classes without a box" in lines[-1], bool(unused), "unused classes")
      for number in re.findall(r"^images without a box: (\d+)", lines[0]):
        outcomes.check_equal(int(number), plain["num_images_without_boxes"], "images without a box")
    return not findings


def _plain(path: pathlib.Path) -> dict | None:
  try:
    value = json.loads(path.read_bytes())
  except ValueError:
    return None
  return value if isinstance(value, dict) else None


def _name(path: str) -> str:
  return pathlib.Path(path).name
