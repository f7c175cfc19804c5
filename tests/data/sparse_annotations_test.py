"""Sparsely annotated splits: what is erased, what is left, and that nothing else changes."""

import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import faults, progress_lines, schema, sparse_annotations
from mtl_ssl_tf.data.pipeline import detection_parser
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sparse import erasing as sparse_erasing
from mtl_ssl_tf.data.sparse import protocols as sparse_protocols
from tests import fixtures

CLASSES = ("cat", "dog", "cow")
PNG = tf.io.encode_png(fixtures.noise_image(20, 40)).numpy()
# Image -> its objects: annotation id, class, and what else is remarkable about it.
IMAGES = {
  "one": [(5, 1, "")],
  "two": [(11, 1, ""), (12, 2, "")],
  "three": [(3, 1, ""), (2, 1, ""), (1, 2, "")],
  "none": [],
  "crowd": [(21, 3, "crowd")],
  "many": [(i, 1 + i % 3, "") for i in range(40, 49)] + [(60, 1, "crowd"), (61, 2, "difficult")],
}


def example(name, objects):
  return record_writer.make_example(
    encoded=PNG,
    image_format="png",
    height=20,
    width=40,
    filename=f"{name}.png",
    source_id=name,
    # Each object's box tells its id; a flat or thin box has no area.
    boxes_orig=[
      (1, 1, 1 if kind == "flat" else 15, 1 if kind == "thin" else 10 + i % 29)
      for i, _, kind in objects
    ],
    class_ids=[class_id for _, class_id, _ in objects],
    class_names=[CLASSES[class_id - 1] for _, class_id, _ in objects],
    difficult=[int(kind == "difficult") for *_, kind in objects],
    truncated=[0] * len(objects),
    is_crowd=[int(kind == "crowd") for *_, kind in objects],
    object_ids=[i for i, *_ in objects],
  )


def write_split(folder, images=None, split="train", num_shards=2):
  images = IMAGES if images is None else images
  with record_writer.SplitWriter(
    folder, split, CLASSES, num_images=len(images), num_shards=num_shards
  ) as writer:
    for position, (name, objects) in enumerate(images.items()):
      writer.write(example(name, objects), position)
    writer.commit()


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """A folder with the split `train`, not to be changed."""
  folder = tmp_path_factory.mktemp("records")
  write_split(folder)
  return folder


def make(input_dir, output_dir, name="hard", split="train", **options):
  own = {key: options.pop(key) for key in ("share", "seed", "one_box") if key in options}
  return sparse_annotations.make_split(
    input_dir,
    split,
    sparse_protocols.Protocol(name, **own),
    output_dir=output_dir,
    **options,
  )


def examples(folder, pattern="*.tfrecord"):
  for path in sorted(pathlib.Path(folder).glob(pattern)):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      yield tf.train.Example.FromString(record)


def ids(folder, prefix=schema.OBJECT_PREFIX, pattern="*.tfrecord"):
  """Annotation ids of each image, in order."""
  return {
    found.features.feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0].decode(): list(
      found.features.feature[f"{prefix}id"].int64_list.value
    )
    for found in examples(folder, pattern)
  }


def ranked(name, seed=0, images=None, kinds=("", "difficult")):
  """Annotation ids of an image by the text of their digests."""
  objects = (IMAGES if images is None else images)[name]
  found = [i for i, _, kind in objects if kind in kinds]
  return sorted(found, key=lambda i: hashlib.sha256(f"{seed}/{name}/{i}".encode()).hexdigest())


class TestErased:
  @pytest.mark.parametrize("seed", [0, 3])
  @pytest.mark.parametrize(
    ("name", "count"),
    [("easy", lambda n: 1), ("hard", lambda n: n // 2), ("extreme", lambda n: n - 1)],
  )
  def test_the_first_by_rank_of_each_image(self, folder, tmp_path, name, count, seed):
    make(folder, tmp_path, name, seed=seed)
    kept, erased = ids(tmp_path), ids(tmp_path, schema.ERASED_PREFIX)
    assert set(kept) == {"one", "two", "three", "many"}
    for image, objects in IMAGES.items():
      if image not in kept:
        continue
      order = ranked(image, seed)
      gone = set(order[: min(count(len(order)), len(order) - 1)])
      assert set(erased[image]) == gone
      # What is left keeps its order, and the crowd its place.
      assert kept[image] == [i for i, *_ in objects if i not in gone]
    assert kept["one"] == [5]
    assert len(kept["two"]) == 1

  def test_one_and_the_same_seed_gives_nested_sets(self, folder, tmp_path):
    for name in ("easy", "hard", "extreme"):
      make(folder, tmp_path / name, name)
    easy, hard, extreme = (ids(tmp_path / name) for name in ("easy", "hard", "extreme"))
    for image in easy:
      assert set(extreme[image]) <= set(hard[image]) <= set(easy[image])
    assert extreme["many"] != hard["many"] != easy["many"]

  def test_strict_erases_the_only_one_and_drops_the_image(self, folder, tmp_path):
    manifest = make(folder, tmp_path, "easy", one_box="strict")
    assert set(ids(tmp_path)) == {"two", "three", "many"}
    about = manifest["sparse_annotations"]
    assert about["images"] == {"kept": 3, "emptied": 1, "without_annotations": 2}
    assert about["annotations"] == {
      "ranked": 16,
      "kept": 12,
      "erased": 4,
      "erased_with_their_image": 1,
    }

  def test_keep1_keeps_one_of_each_class(self, folder, tmp_path):
    make(folder, tmp_path, "keep1")
    kept = ids(tmp_path)
    classes = {i: class_id for i, class_id, _ in IMAGES["many"]}
    order = ranked("many")
    firsts = {next(i for i in order if classes[i] == class_id) for class_id in (1, 2, 3)}
    assert set(kept["many"]) == firsts | {60}
    assert len(kept["three"]) == 2 and len(kept["two"]) == 2

  @pytest.mark.parametrize("tenths", [0, 3, 5, 9])
  def test_miss_takes_its_share_of_each_class(self, folder, tmp_path, tenths):
    manifest = make(folder, tmp_path, "miss", share=f"0.{tenths}")
    keys = {class_id: [] for class_id in (1, 2, 3)}
    for name, objects in IMAGES.items():
      for i, class_id, kind in objects:
        if kind != "crowd":
          key = hashlib.sha256(f"0/{name}/{i}".encode()).hexdigest()
          keys[class_id].append((key, name, i))
    gone = {
      (name, i)
      for class_keys in keys.values()
      for _, name, i in sorted(class_keys)[: tenths * len(class_keys) // 10]
    }
    kept, erased = ids(tmp_path), ids(tmp_path, schema.ERASED_PREFIX)
    for name, objects in IMAGES.items():
      left = [i for i, *_ in objects if (name, i) not in gone]
      if any(kind != "crowd" and i in left for i, _, kind in objects):
        assert kept[name] == left
        assert set(erased[name]) == {i for image, i in gone if image == name}
      else:
        assert name not in kept
    about = manifest["sparse_annotations"]
    assert about["annotations"]["erased"] == len(gone)
    totals = {name: len(keys[number]) for number, name in enumerate(CLASSES, start=1)}
    assert about["erased_per_class"] == {
      name: tenths * total // 10 for name, total in totals.items()
    }
    assert {n: about["kept_per_class"][n] + about["erased_per_class"][n] for n in CLASSES} == totals

  def test_crowds_and_flat_boxes_are_not_ranked(self, tmp_path):
    images = {"a": [(1, 1, "crowd"), (2, 1, "flat"), (5, 1, "thin"), (3, 2, ""), (4, 2, "")]}
    write_split(tmp_path, images)
    make(tmp_path, tmp_path / "sparse", "extreme")
    (last,) = ranked("a", images=images)[1:]
    assert ids(tmp_path / "sparse") == {"a": [1, 2, 5, last]}

  @pytest.mark.parametrize("mode", ["keep", "ignore", "drop"])
  def test_difficult_objects_are_ranked_where_training_keeps_them(self, tmp_path, mode):
    images = {"a": [(1, 1, "difficult"), (2, 1, "difficult"), (3, 2, ""), (4, 2, "")]}
    write_split(tmp_path, images)
    make(tmp_path, tmp_path / "sparse", "extreme", difficult=mode)
    kinds = ("", "difficult") if mode == "keep" else ("",)
    last = ranked("a", images=images, kinds=kinds)[-1]
    assert ids(tmp_path / "sparse") == {"a": [last] if mode == "keep" else [1, 2, last]}


class TestRecords:
  def test_erased_objects_keep_all_their_fields(self, folder, tmp_path):
    make(folder, tmp_path, "hard")
    before = {
      e.features.feature[schema.IMAGE_SOURCE_ID].SerializeToString(): e for e in examples(folder)
    }
    for after in examples(tmp_path):
      feature = after.features.feature
      full = before[feature[schema.IMAGE_SOURCE_ID].SerializeToString()].features.feature
      places = list(full[schema.OBJECT_ID].int64_list.value)
      for name in full:
        values = sparse_erasing._values(full[name])
        if not name.startswith(schema.OBJECT_PREFIX):
          assert feature[name] == full[name]
          continue
        erased_name = name.replace(schema.OBJECT_PREFIX, schema.ERASED_PREFIX)
        for prefix, part in ((schema.OBJECT_PREFIX, name), (schema.ERASED_PREFIX, erased_name)):
          rows = [places.index(i) for i in feature[f"{prefix}id"].int64_list.value]
          assert list(sparse_erasing._values(feature[part])) == [values[row] for row in rows]

  def test_what_was_erased_never_reaches_a_batch(self, folder, tmp_path):
    # Training batches equal those of records in which the erased objects never were.
    make(folder, tmp_path / "sparse", "hard", num_shards=1)
    erased = ids(tmp_path / "sparse", schema.ERASED_PREFIX)
    assert sum(map(len, erased.values())) == 7
    images = {
      name: [found for found in objects if found[0] not in erased[name]]
      for name, objects in IMAGES.items()
      if name in erased
    }
    write_split(tmp_path / "never", images, num_shards=1)
    settings = {"input_size": (32, 64), "short_side": 20, "long_side": 64, "max_num_boxes": 12}
    parser = detection_parser.DetectionParser(data_config.Data(**settings), is_training=True)
    pairs = zip(examples(tmp_path / "sparse"), examples(tmp_path / "never"), strict=True)
    for ours, never in pairs:
      seed = tf.zeros([2], tf.int64)
      batches = [parser(tf.constant(e.SerializeToString()), seed) for e in (ours, never)]
      assert set(batches[0][1]) == set(batches[1][1])
      assert not [name for name in batches[0][1] if "erased" in name]
      for a, b in zip(*map(tf.nest.flatten, batches), strict=True):
        np.testing.assert_array_equal(a, b)

  def test_the_reader_takes_the_new_split(self, folder, tmp_path):
    make(folder, tmp_path, "hard")
    dataset = fixtures.make_dataset(
      str(tmp_path), global_batch_size=2, is_training=False, input_size=(32, 64), short_side=20
    )
    classes = np.concatenate([labels["gt_classes"] for _, labels in dataset])
    assert (classes > 0).sum() == 16 + 1 - 7  # The crowd stays.


class TestManifest:
  def test_says_what_was_done(self, folder, tmp_path, capsys):
    manifest = make(folder, tmp_path, "hard", seed=2)
    about = manifest["sparse_annotations"]
    kept = [
      f"{name}/{i}\n"
      for name, numbers in ids(tmp_path).items()
      for i in numbers
      if (name, i) != ("many", 60)
    ]
    names = [
      f"{name}/{i}\n" for name, objects in IMAGES.items() for i, _, k in objects if k != "crowd"
    ]
    assert about == {
      "protocol": "hard",
      "share": None,
      "seed": 2,
      "one_box": "keep-one",
      "difficult": "keep",
      "images": {"kept": 4, "emptied": 0, "without_annotations": 2},
      "annotations": {"ranked": 16, "kept": 9, "erased": 7, "erased_with_their_image": 0},
      "kept_per_class": about["kept_per_class"],
      "erased_per_class": about["erased_per_class"],
      "kept_ids_sha256": hashlib.sha256("".join(sorted(kept)).encode()).hexdigest(),
      "ranked_ids_sha256": hashlib.sha256("".join(sorted(names)).encode()).hexdigest(),
      "source_split": "train",
    }
    assert sum(about["kept_per_class"].values()) == 9
    assert sum(about["erased_per_class"].values()) == 7
    # The crowd is in the records, but not ranked.
    assert (manifest["num_images"], manifest["num_boxes"]) == (4, 10)
    assert json.loads((tmp_path / "manifest_train_hard_seed2.json").read_text()) == manifest
    assert capsys.readouterr().err.splitlines()[-1] == (
      "train_hard_seed2: 9 of 16 annotations kept, in 4 images; left out: images that lost all"
      " annotations 0, images that had none 2"
    )

  def test_both_readings_tell_how_far_they_are(self, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress_lines, "_SECONDS_BETWEEN_LINES", 0.0)
    make(folder, tmp_path, "miss", share="0.4")
    told = [line.split(", ")[0] for line in capsys.readouterr().err.splitlines()]
    for what in ("ranking annotations", "writing records"):
      lines = [line for line in told if line.startswith(f"train_40miss: {what}: ")]
      assert lines == [f"train_40miss: {what}: {number}/6" for number in range(1, 7)]

  @pytest.mark.parametrize("options", [{"name": "hard"}, {"name": "miss", "share": "0.4"}])
  def test_order_of_records_and_shards_does_not_matter(self, folder, tmp_path, options):
    turned = dict(reversed(IMAGES.items()))
    turned["many"] = IMAGES["many"][::-1]
    write_split(tmp_path / "turned", turned, num_shards=3)
    ours, theirs = (
      make(source, tmp_path / str(number), **options)["sparse_annotations"]
      for number, source in enumerate((folder, tmp_path / "turned"))
    )
    assert ours["kept_ids_sha256"] == theirs["kept_ids_sha256"]
    assert ours["kept_per_class"] == theirs["kept_per_class"]

  def test_every_setting_makes_another_set(self, folder, tmp_path):
    variants = [
      {"name": "hard"},
      {"name": "hard", "seed": 1},
      {"name": "easy"},
      {"name": "easy", "one_box": "strict"},
      {"name": "extreme"},
      {"name": "keep1"},
      {"name": "miss", "share": "0.3"},
      {"name": "miss", "share": "0.6"},
    ]
    digests = {
      make(folder, tmp_path / str(i), **variant)["sparse_annotations"]["kept_ids_sha256"]
      for i, variant in enumerate(variants)
    }
    assert len(digests) == len(variants)

  def test_run_again_byte_for_byte(self, folder, tmp_path):
    for name in ("x", "y", "y"):
      make(folder, tmp_path / name, "miss", share="0.5")
    names = sorted(os.listdir(tmp_path / "x"))
    assert names == sorted(os.listdir(tmp_path / "y"))
    assert names == [
      "label_map.txt",
      "manifest_train_50miss.json",
      "pictures_train_50miss.tsv",
      "train_50miss-00000-of-00002.tfrecord",
      "train_50miss-00001-of-00002.tfrecord",
    ]
    for name in names:
      assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()

  def test_beside_the_input_by_default(self, tmp_path):
    write_split(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    make(tmp_path, None, "easy")
    assert all(path.read_bytes() == content for path, content in before.items())
    names = {path.name for path in tmp_path.iterdir()} - {path.name for path in before}
    assert names == {
      "manifest_train_easy.json",
      "pictures_train_easy.tsv",
      "train_easy-00000-of-00002.tfrecord",
      "train_easy-00001-of-00002.tfrecord",
    }


class TestRefused:
  def _message(self, *args, **options):
    with pytest.raises(ValueError) as error:
      make(*args, **options)
    return str(error.value)

  def test_split_that_is_absent(self, folder, tmp_path):
    assert self._message(folder, tmp_path, split="val") == (
      f"--split val: {folder}/manifest_val.json is missing; accepted: a converted split; in"
      f" {folder}: train"
    )
    assert "in /nowhere: nothing" in self._message("/nowhere", tmp_path)

  def test_output_that_is_the_input(self, tmp_path):
    write_split(tmp_path)
    before = sorted(path.read_bytes() for path in tmp_path.iterdir())
    for output_dir in (None, tmp_path, tmp_path / "x" / ".."):
      (tmp_path / "x").mkdir(exist_ok=True)
      message = self._message(tmp_path, output_dir, output_split="train")
      assert message.startswith("--output_split train: is the input; accepted:")
    (tmp_path / "x").rmdir()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == before

  def test_output_that_another_command_wrote(self, folder, tmp_path):
    write_split(tmp_path, {"one": IMAGES["one"]}, split="test")
    message = self._message(folder, tmp_path, output_split="test")
    assert message.startswith(f"--output_split test: {tmp_path}/manifest_test.json is of another")
    assert ids(tmp_path) == {"one": [5]}

  def test_sparse_input(self, folder, tmp_path):
    make(folder, tmp_path)
    message = self._message(tmp_path, tmp_path, split="train_hard")
    assert message == (
      "--split train_hard: is sparsely annotated itself; accepted: a fully annotated split, e.g."
      " train"
    )

  @pytest.mark.parametrize(
    ("options", "expected"),
    [
      ({"difficult": "maybe"}, "--difficult is maybe; accepted: keep, ignore, drop"),
      ({"num_shards": 0}, "--num_shards is 0; accepted: 1 … 99999"),
      ({"num_shards": 100_000}, "--num_shards is 100000; accepted: 1 … 99999"),
      ({"output_split": ".a"}, "--output_split is '.a'; accepted: letters, digits and . _ + -"),
      ({"output_split": "a/b"}, "--output_split is 'a/b'; accepted: letters, digits and . _ + -"),
      ({"output_split": ""}, "--output_split is ''; accepted: letters, digits and . _ + -"),
    ],
  )
  def test_bad_settings(self, folder, tmp_path, options, expected):
    assert self._message(folder, tmp_path, **options) == expected

  def test_nothing_is_left(self, folder, tmp_path):
    message = self._message(folder, tmp_path / "new", name="miss", share="1")
    assert message == "train_100miss: no image is left to write; accepted: at least one sound image"
    assert not (tmp_path / "new").exists()

  def test_manifest_that_is_none(self, tmp_path):
    write_split(tmp_path)
    for content in ("{", "[]", '{"shards": [{}]}', '{"shards": 1}', '{"shards": [{"file": "a"}]}'):
      (tmp_path / "manifest_train.json").write_text(content)
      message = self._message(tmp_path, None)
      assert message.startswith(f"{tmp_path}/manifest_train.json: ")
      assert message.endswith("what a converter wrote")

  def test_files_that_are_not_those_of_the_manifest(self, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "train-00001-of-00002.tfrecord"
    shutil.copy(copy / "train-00000-of-00002.tfrecord", path)
    shutil.copy(folder / "manifest_train.json", copy)
    manifest = json.loads((copy / "manifest_train.json").read_text())
    manifest["shards"][1]["num_images"] = 4
    (copy / "manifest_train.json").write_text(json.dumps(manifest))
    assert self._message(copy, None) == (
      f"{path}: content: 3 records; accepted: 4 records, as manifest_train.json says; convert the"
      " data set again"
    )
    path.unlink()
    assert self._message(copy, None).startswith(f"{path}: content: missing; accepted: 4 records")

  def test_a_class_that_the_label_map_lacks(self, tmp_path):
    write_split(tmp_path, {"two": IMAGES["two"], "crowd": IMAGES["crowd"]}, num_shards=1)
    (tmp_path / schema.LABEL_MAP_FILE).write_text("cat\ndog\n")
    assert self._message(tmp_path, None).startswith(
      f"{tmp_path}/train-00000-of-00001.tfrecord: record 1: image/object/class/label: 3; accepted:"
      " 1 … 2, the lines of the label map"
    )

  def test_damaged_record(self, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "train-00001-of-00002.tfrecord"
    content = bytearray(path.read_bytes())
    content[-20] ^= 255
    path.write_bytes(content)
    assert self._message(copy, tmp_path / "new").startswith(f"{path}: record 2: damaged; accepted:")
    assert not (tmp_path / "new").exists()

  def test_one_image_twice(self, tmp_path):
    with record_writer.SplitWriter(
      tmp_path, "train", CLASSES, num_images=2, num_shards=1
    ) as writer:
      for position in range(2):
        writer.write(example("two", IMAGES["two"]), position)
      writer.commit()
    for options in ({"name": "hard"}, {"name": "miss", "share": "0.5"}):
      assert self._message(tmp_path, None, **options) == (
        f"{tmp_path}: split train: image/object/id: 'two/11' twice; accepted: each image id and"
        " annotation id once"
      )

  @pytest.mark.parametrize(
    ("field", "change", "message"),
    [
      (schema.OBJECT_ID, "delete", "image/object/id: missing; accepted: records of this"),
      (schema.OBJECT_ID, [7, 7], "image/object/id: the same id twice; accepted:"),
      (schema.OBJECT_ID, [7], "image/object/id: 1 values for 2 objects; accepted:"),
      (schema.OBJECT_LABEL, [1, 4], "image/object/class/label: 4; accepted: 1 … 3, the lines"),
      (schema.OBJECT_LABEL, [0, 1], "image/object/class/label: 0; accepted: 1 … 3, the lines"),
      (schema.OBJECT_YMAX, "delete", "image/object/bbox: missing; accepted:"),
      (schema.IMAGE_SOURCE_ID, "delete", "image/source_id: missing; accepted:"),
      (schema.IMAGE_SOURCE_ID, [b"a\nb"], "image/source_id: holds a line break; accepted:"),
    ],
  )
  def test_record_at_fault(self, field, change, message):
    record = example("two", IMAGES["two"])
    feature = record.features.feature
    if change == "delete":
      del feature[field]
    else:
      values = sparse_erasing._values(feature[field])
      del values[:]
      values.extend(change)
    with pytest.raises(faults.FaultError) as error:
      sparse_erasing.ranked_objects(record, "train: record 3", 3, rank_difficult=True)
    assert str(error.value).startswith(f"train: record 3: {message}")

  def test_each_record_says_where_it_stands(self, folder):
    paths = sorted(folder.glob("*.tfrecord"))
    places = [f"{path}: record {number}" for path in paths for number in range(3)]
    assert [where for _, where in sparse_erasing.read(paths)] == places

  def test_no_example(self, tmp_path):
    path = fixtures.write_records(tmp_path / "a.tfrecord", [b"\xff"])
    with pytest.raises(faults.FaultError, match=r"a\.tfrecord: record 0: damaged; accepted:"):
      list(sparse_erasing.read([path]))


class TestCommand:
  def test_makes_a_split(self, folder, tmp_path, capsys):
    flags = ["--input_dir", str(folder), "--split", "train", "--output_dir", str(tmp_path)]
    options = [
      "--protocol=miss",
      "--share=0.25",
      "--seed=4",
      "--output_split=few",
      "--num_shards=1",
    ]
    assert sparse_annotations.main([*flags, *options, "--difficult=drop"]) == 0
    about = json.loads((tmp_path / "manifest_few.json").read_text())["sparse_annotations"]
    names = ("protocol", "share", "seed", "one_box", "difficult")
    assert [about[name] for name in names] == ["miss", "0.25", 4, "keep-one", "drop"]
    assert (tmp_path / "few-00000-of-00001.tfrecord").exists()
    shown = capsys.readouterr().err
    assert "6 of 7 cat\n" in shown and "annotations kept" in shown
    assert sparse_annotations.main([*flags, "--protocol=easy", "--one_box=strict"]) == 0
    about = json.loads((tmp_path / "manifest_train_easy_strict.json").read_text())
    about = about["sparse_annotations"]
    assert [about[name] for name in names] == ["easy", None, 0, "strict", "keep"]

  def test_says_what_is_wrong(self, folder, capsys):
    flags = ["--input_dir", str(folder), "--split", "train"]
    assert sparse_annotations.main([*flags, "--protocol=some"]) == 1
    shown = capsys.readouterr().err
    assert shown == "error: --protocol is some; accepted: easy, hard, extreme, keep1, miss\n"

  def test_says_what_cannot_be_written(self, folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    flags = ["--input_dir", str(folder), "--split", "train", "--protocol=easy"]
    assert sparse_annotations.main([*flags, "--output_dir", str(tmp_path / "file")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(tmp_path / "file") in line

  def test_stopped(self, folder, capsys, monkeypatch):
    def stop(*args, **options):
      raise KeyboardInterrupt

    monkeypatch.setattr(sparse_annotations, "make_split", stop)
    flags = ["--input_dir", str(folder), "--split", "train", "--protocol=easy"]
    assert sparse_annotations.main(flags) == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"
