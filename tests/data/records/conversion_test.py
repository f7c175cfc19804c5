"""Tests of continuing after a stop, of the kept files, and of results that depend on neither."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from mtl_ssl_tf import files
from mtl_ssl_tf.data import coco_json, pascal_voc
from mtl_ssl_tf.data.records import conversion, examples, workspace
from tests.data import coco_files, voc_files

_REPOSITORY = pathlib.Path(__file__).parents[3]
_NUM_IMAGES, _NUM_SHARDS = 7, 3
_SHARD = "train-00000-of-00003.tfrecord"  # Of images 0 to 2.


def _one_bit(content: bytes) -> bytes:
  return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


class _KilledError(BaseException):
  """Simulates a kill: nothing handles it."""


@pytest.fixture(name="voc")
def _voc(tmp_path) -> pathlib.Path:
  files = {
    f"{i}.xml": voc_files.annotation_xml([voc_files.object_xml("cat" if i % 2 else "dog")])
    for i in range(_NUM_IMAGES)
  }
  files["3.xml"] = voc_files.annotation_xml([voc_files.object_xml("cat", {"xmax": 99})], None)
  return voc_files.write(tmp_path / "voc", files)


def _convert(voc: pathlib.Path, **options) -> list[str]:
  """Converts next to the data set; returns the lines that were logged."""
  options = {"on_error": "skip", "num_shards": _NUM_SHARDS, "workers": 1} | options
  with contextlib.redirect_stderr(io.StringIO()) as logged:
    pascal_voc.convert_split(voc, "train", voc.parent / "records", **options)
  return logged.getvalue().splitlines()


def _convert_coco(root: pathlib.Path) -> None:
  coco_json.convert_split(
    root / "train.json",
    root / "images",
    "train",
    root / "records",
    on_error="skip",
    num_shards=_NUM_SHARDS,
  )


def _content(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def _kill_at(monkeypatch, module, name: str, call: int) -> None:
  """Makes a function kill in the place of doing its work for the `call`th time, from 1."""
  function, calls = getattr(module, name), []

  def killing(*args, **kwargs):
    calls.append(args)
    if len(calls) == call:
      raise _KilledError
    return function(*args, **kwargs)

  monkeypatch.setattr(module, name, killing)


class TestKilled:
  @pytest.mark.parametrize(
    ("module", "name"),
    [(os, "replace"), (os, "fsync"), (pathlib.Path, "unlink"), (examples, "convert")],
    ids=["rename", "sync", "remove", "convert"],
  )
  @pytest.mark.parametrize("earlier", [False, True], ids=["new", "over an earlier one"])
  def test_at_every_step(self, voc, monkeypatch, module, name, earlier):
    records = voc.parent / "records"
    _convert(voc)
    expected = _content(records)
    for call in range(1, 100):
      for path in records.iterdir():
        path.unlink()
      if earlier:  # With more shards, which have to go.
        _convert(voc, num_shards=5, label_map_file=None)
        (records / "label_map.txt").unlink()
      with monkeypatch.context() as patch:
        _kill_at(patch, module, name, call)
        try:
          _convert(voc)
          break
        except _KilledError:
          pass
      manifest = records / "manifest_train.json"
      if manifest.exists():
        listed = [shard["file"] for shard in json.loads(manifest.read_text())["shards"]]
        assert listed == sorted(path.name for path in records.glob("*.tfrecord"))
      _convert(voc)
      assert _content(records) == expected
    assert 2 < call < 99

  def test_coco(self, tmp_path, monkeypatch):
    annotations = [coco_files.annotation_entry(i, image_id=i % 5) for i in range(9)]
    images = [coco_files.image_entry(i) for i in range(6)]
    names = [f"{i}.jpg" for i in range(5)]
    coco_files.write(tmp_path, coco_files.text(annotations, images), names)
    records = tmp_path / "records"
    _convert_coco(tmp_path)
    expected = _content(records)
    for call in range(1, 100):
      for path in records.iterdir():
        path.unlink()
      with monkeypatch.context() as patch:
        _kill_at(patch, os, "replace", call)
        try:
          _convert_coco(tmp_path)
          break
        except _KilledError:
          pass
      _convert_coco(tmp_path)
      assert _content(records) == expected
    assert 10 < call < 99

  @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
  def test_by_signal(self, voc, stop):
    _convert(voc)
    records = voc.parent / "records"
    expected = _content(records)
    shutil.rmtree(records)
    program = (
      "import sys, time\n"
      "from mtl_ssl_tf.data import pascal_voc\n"
      "from mtl_ssl_tf.data.records import examples\n"
      "convert = examples.convert\n"
      "def slow(source, position, rules):\n"
      "  if position == 4:\n"
      "    print('now', flush=True)\n"
      "    time.sleep(100)\n"
      "  return convert(source, position, rules)\n"
      "examples.convert = slow\n"
      "sys.exit(pascal_voc.main(sys.argv[1:]))\n"
    )
    flags = ["--split=train", "--workers=1", "--num_shards=3", "--on_error=skip"]
    flags += [f"--data_dir={voc}", f"--output_dir={records}"]
    with subprocess.Popen(
      [sys.executable, "-c", program, *flags],
      cwd=_REPOSITORY,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    ) as process:
      assert process.stdout.readline() == "now\n"
      process.send_signal(stop)
      said = process.communicate(timeout=60)[1]
    if stop == signal.SIGINT:
      assert process.returncode == 130
      assert said.splitlines()[-1] == "stopped; the same command continues from here"
      assert "Traceback" not in said
    assert os.listdir(records) == [".incomplete_train"]
    assert "train: continuing the conversion that was stopped" in _convert(voc)
    assert _content(records) == expected


class TestContinuing:
  def _stop(self, voc, monkeypatch, at: int = 6, **options) -> None:
    """Stops at an image; with 7 images in 3 shards, the last shard is that of images 5 and 6."""
    with monkeypatch.context() as patch:
      _kill_at(patch, examples, "convert", at)
      with pytest.raises(_KilledError):
        _convert(voc, **options)

  def _continue(self, voc, monkeypatch, **options) -> tuple[list[int], list[str]]:
    """Returns the images that were converted, and the lines that were logged."""
    converted, convert = [], examples.convert

    def count(source, position, rules):
      converted.append(position)
      return convert(source, position, rules)

    with monkeypatch.context() as patch:
      patch.setattr(examples, "convert", count)
      said = _convert(voc, **options)
    return converted, said

  def _fresh(self, voc, **options) -> dict[str, bytes]:
    """Returns the files of a conversion from the beginning."""
    records = voc.parent / "records"
    content = _content(records)
    for path in records.iterdir():
      path.unlink()
    _convert(voc, **options)
    assert content == _content(records)
    return content

  def test_shards_that_are_done_are_kept(self, voc, monkeypatch):
    self._stop(voc, monkeypatch)
    converted, said = self._continue(voc, monkeypatch)
    assert converted == [5, 6]
    assert "train: continuing the conversion that was stopped" in said

  @pytest.mark.parametrize("file", ["JPEGImages/1.jpg", "Annotations/1.xml"])
  def test_a_shard_whose_sources_changed_is_done_again(self, voc, monkeypatch, file):
    self._stop(voc, monkeypatch)
    content = (voc / file).read_bytes()
    (voc / file).write_bytes(content + b"\n")
    converted, _ = self._continue(voc, monkeypatch)
    assert converted == [0, 1, 2, 5, 6]
    self._fresh(voc)

  @pytest.mark.parametrize(
    ("file", "expected"), [("images/1.jpg", [0, 1, 4, 5]), ("train.json", [0, 1, 2, 3, 4, 5])]
  )
  def test_a_shard_of_coco_whose_sources_changed_is_done_again(
    self, tmp_path, monkeypatch, file, expected
  ):
    annotations = [coco_files.annotation_entry(i, image_id=i) for i in range(6)]
    text = coco_files.text(annotations, [coco_files.image_entry(i) for i in range(6)])
    coco_files.write(tmp_path, text, [f"{i}.jpg" for i in range(6)])
    with monkeypatch.context() as patch:
      _kill_at(patch, examples, "convert", 5)
      with pytest.raises(_KilledError):
        _convert_coco(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"\n")
    converted, convert = [], examples.convert

    def count(source, position, rules):
      converted.append(position)
      return convert(source, position, rules)

    monkeypatch.setattr(examples, "convert", count)
    _convert_coco(tmp_path)
    assert converted == expected

  def test_other_classes_begin_again(self, voc, monkeypatch):
    self._stop(voc, monkeypatch)
    (voc.parent / "classes.txt").write_text("dog\ncat\n")
    options = {"label_map_file": voc.parent / "classes.txt"}
    converted, said = self._continue(voc, monkeypatch, **options)
    assert converted == list(range(_NUM_IMAGES))
    assert not any("continuing" in line for line in said)

  @pytest.mark.parametrize(
    "changed",
    [{"clip_px": 90.0}, {"ignore_faulty_boxes": False}, {"annotated_classes": ("cat", "dog")}],
    ids=str,
  )
  def test_other_rules_for_boxes_begin_again(self, voc, monkeypatch, changed):
    self._stop(voc, monkeypatch)
    assert self._continue(voc, monkeypatch, **changed)[0] == list(range(_NUM_IMAGES))
    self._fresh(voc, **changed)

  def test_the_same_classes_from_elsewhere_begin_again(self, voc, monkeypatch):
    # What is left out says where the classes come from.
    self._stop(voc, monkeypatch)
    (voc.parent / "classes.txt").write_text("cat\ndog\n")
    options = {"label_map_file": voc.parent / "classes.txt"}
    assert self._continue(voc, monkeypatch, **options)[0] == list(range(_NUM_IMAGES))
    self._fresh(voc, **options)

  @pytest.mark.parametrize("change", ["num_shards", "split file", "format", "PIL", "tf", "folder"])
  def test_another_conversion_begins_again(self, voc, monkeypatch, change):
    self._stop(voc, monkeypatch)
    options = {}
    if change == "num_shards":
      options["num_shards"] = 2
    elif change == "split file":
      with open(voc / "ImageSets/Main/train.txt", "a") as file:
        file.write("\n")
    elif change in ("PIL", "tf"):
      monkeypatch.setattr(getattr(conversion, change), "__version__", "another")
    elif change == "folder":
      voc = voc.rename(voc.parent / "another")
    else:
      monkeypatch.setattr(conversion, "_FORMAT_VERSION", 99)
    assert self._continue(voc, monkeypatch, **options)[0] == list(range(_NUM_IMAGES))
    self._fresh(voc, **options)

  def test_to_leave_out_what_is_at_fault_needs_nothing_done_again(self, voc, monkeypatch):
    self._stop(voc, monkeypatch, on_error="fail")
    assert self._continue(voc, monkeypatch, on_error="skip")[0] == [5, 6]

  def test_a_wrong_flag_in_between_loses_nothing(self, voc, monkeypatch):
    self._stop(voc, monkeypatch)
    with pytest.raises(ValueError, match="/nowhere: cannot be read"):
      _convert(voc, label_map_file="/nowhere")
    assert self._continue(voc, monkeypatch)[0] == [5, 6]

  def test_a_shard_that_another_program_wrote_over_is_done_again(self, voc, monkeypatch):
    records = voc.parent / "records"
    _convert(voc)
    expected = _content(records)
    for path in records.iterdir():
      path.unlink()
    with monkeypatch.context() as patch:  # Shards and label map are visible, the manifest is not.
      _kill_at(patch, files, "move_into", 2)
      with pytest.raises(_KilledError):
        _convert(voc)
    shard = records / "train-00001-of-00003.tfrecord"
    shard.write_bytes(b"other")
    converted, said = self._continue(voc, monkeypatch)
    assert converted == [3, 4]
    # The label map that was visible already does not pass for another split's.
    assert "train: the classes found in the annotations: cat, dog (2)" in said
    assert _content(records) == expected

  @pytest.mark.parametrize("name", [_SHARD, f"{_SHARD}.json"])
  @pytest.mark.parametrize("change", [_one_bit, lambda content: content[:-9], lambda _: b""])
  def test_a_shard_that_has_changed_is_done_again(self, voc, monkeypatch, name, change):
    self._stop(voc, monkeypatch)
    path = voc.parent / "records/.incomplete_train" / name
    path.write_bytes(change(path.read_bytes()))
    converted, said = self._continue(voc, monkeypatch)
    assert converted == [0, 1, 2, 5, 6]
    shard = path.with_name(_SHARD)
    assert (
      f"warning: {shard}: damaged since the conversion was stopped, and converted again" in said
    )
    self._fresh(voc)

  @pytest.mark.parametrize("text", ["[" * 10_000, "{}", '{"signature": 1}', "7"])
  def test_a_summary_of_another_kind(self, voc, monkeypatch, text):
    self._stop(voc, monkeypatch)
    (voc.parent / f"records/.incomplete_train/{_SHARD}.json").write_text(text)
    assert self._continue(voc, monkeypatch)[0] == [0, 1, 2, 5, 6]
    self._fresh(voc)

  def test_the_pool_tells_too(self, voc, monkeypatch):
    self._stop(voc, monkeypatch)
    (voc.parent / "records/.incomplete_train" / _SHARD).write_bytes(b"other")
    assert any("converted again" in line for line in _convert(voc, workers=2))

  def test_a_summary_that_changes_before_the_end(self, voc, monkeypatch):
    convert = examples.convert

    def damage(source, position, rules):
      if position == 6:
        path = voc.parent / f"records/.incomplete_train/{_SHARD}.json"
        path.write_bytes(_one_bit(path.read_bytes()))
      return convert(source, position, rules)

    monkeypatch.setattr(examples, "convert", damage)
    with pytest.raises(ValueError, match=rf"{_SHARD}.json: damaged since it was written; accepted"):
      _convert(voc)


class TestForeignIntermediates:
  """Nothing outside of the hidden folder is changed, whatever is in there."""

  @pytest.fixture(name="mine")
  def _mine(self, tmp_path) -> pathlib.Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    (tmp_path / "mine/a.part").write_text("mine")
    (tmp_path / "records").mkdir()
    return tmp_path / "mine"

  def _refusal(self, voc, mine) -> str:
    before = _content(mine)
    with pytest.raises(ValueError) as caught:
      _convert(voc)
    assert _content(mine) == before
    return str(caught.value).replace(str(voc.parent), "")

  def test_a_link_in_the_place_of_the_folder(self, voc, mine):
    (voc.parent / "records/.incomplete_train").symlink_to(mine)
    assert self._refusal(voc, mine) == (
      "/records/.incomplete_train: a link; accepted: none there, or what a conversion left"
    )

  @pytest.mark.parametrize("name", ["lock", "fingerprint.json", "a.part", _SHARD])
  def test_a_link_inside(self, voc, mine, name):
    (voc.parent / "records/.incomplete_train").mkdir()
    (voc.parent / "records/.incomplete_train" / name).symlink_to(mine / "notes.txt")
    assert self._refusal(voc, mine) == (
      f"/records/.incomplete_train/{name}: no file; accepted: what a conversion left; delete its"
      " folder to convert all again"
    )

  @pytest.mark.parametrize(
    ("text", "problem"),
    [
      ('["../mine/notes.txt"]', "'../mine/notes.txt' is no file of the split"),
      ('["manifest_train.json"]', "'manifest_train.json' is no file of the split"),
      ('["/label_map.txt"]', "'/label_map.txt' is no file of the split"),
      (
        "{",
        "no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
      ),
      ("[" * 10_000, "no JSON (objects and lists in each other; at most 32 levels)"),
      ("[1]", "entry 1 is 1"),
      ('"label_map.txt"', "'label_map.txt'"),
    ],
  )
  def test_a_list_of_other_files(self, voc, mine, text, problem):
    folder = voc.parent / "records/.incomplete_train"
    folder.mkdir()
    (folder / "committing.json").write_text(text)
    (folder / "../mine").mkdir()
    (folder.parent / "manifest_train.json").write_text("mine")
    said = self._refusal(voc, mine)
    assert said.startswith("/records/.incomplete_train/committing.json")
    assert problem in said
    assert said.endswith("accepted: what a conversion left; delete its folder to convert all again")
    assert (folder.parent / "manifest_train.json").read_text() == "mine"


class TestProcesses:
  def test_the_number_of_workers_changes_nothing(self, voc):
    _convert(voc, workers=1)
    expected = _content(voc.parent / "records")
    for path in (voc.parent / "records").iterdir():
      path.unlink()
    _convert(voc, workers=2)
    assert _content(voc.parent / "records") == expected

  def test_a_second_conversion_of_the_split_is_refused(self, voc):
    with workspace.Workspace(voc.parent / "records", "train") as space:
      (space.folder / "work").touch()
      with pytest.raises(ValueError, match="another process is writing split train there; accept"):
        _convert(voc)
      assert (space.folder / "work").exists()
    _convert(voc)

  def test_a_full_disk_keeps_what_is_done(self, voc, monkeypatch):
    def full(*args):
      raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
      patch.setattr(files, "write_bytes", full)
      with pytest.raises(OSError, match="No space left"):
        _convert(voc)
    assert not (voc.parent / "records").exists()  # There was nothing yet.
    replaced = []

    def full_later(part, path):
      replaced.append(path)
      if len(replaced) > 4:
        full()
      os.replace(part, path)

    with monkeypatch.context() as patch:
      patch.setattr(files, "publish", full_later)
      with pytest.raises(OSError, match="No space left"):
        _convert(voc)
    kept = os.listdir(voc.parent / "records/.incomplete_train")
    assert "train-00000-of-00003.tfrecord.json" in kept


class TestOptions:
  @pytest.mark.parametrize(
    ("num_images", "expected"), [(1, 4), (2048, 4), (2049, 5), (118_287, 232), (10_000_000, 1024)]
  )
  def test_default_number_of_shards(self, num_images, expected):
    assert conversion._default_shards(num_images) == expected

  def test_the_default_gives_a_manifest_with_the_number(self, voc):
    _convert(voc, num_shards=None)
    manifest = json.loads((voc.parent / "records/manifest_train.json").read_text())
    assert manifest["options"]["num_shards"] == len(manifest["shards"]) == 4

  @pytest.mark.parametrize("workers", [0, -1, 1025])
  def test_workers(self, workers):
    with pytest.raises(ValueError, match=f"--workers is {workers}; accepted: 1 … 1024"):
      conversion.Options("records", workers=workers)

  @pytest.mark.parametrize("split", ["", "a/b", "a\0b"])
  def test_the_name_of_the_split(self, split):
    with pytest.raises(ValueError, match=r"--split is .*; accepted: a name without folders"):
      conversion.convert(pytest.fail, split, conversion.Options("records"), about_source={})

  @pytest.mark.parametrize(
    ("workers", "num_images", "num_shards", "expected"),
    [
      (None, 3999, 9, 1),
      (None, 4000, 9, 2),
      (None, 10**6, 9, 4),
      (None, 10**6, 3, 3),
      (1, 10**6, 9, 1),
      (6, 10, 9, 6),
      (6, 10, 2, 2),
    ],
  )
  def test_number_of_processes_on_four_cores(
    self, monkeypatch, workers, num_images, num_shards, expected
  ):
    made = []

    class Pool:
      run = "in processes"

      def __init__(self, *sizes):
        made.append(sizes)

      def __enter__(self):
        return self

      def __exit__(self, *exception):
        made.append("closed")

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(conversion.worker_pool, "Pool", Pool)
    options = conversion.Options("records", workers=workers)
    with conversion._runner(options, num_images, num_shards, None) as run:
      pass
    if expected == 1:
      assert (run, made) == (conversion.worker_pool.run_here, [])
    else:
      assert (run, made) == ("in processes", [(expected, num_shards), "closed"])


def test_two_splits_at_a_time_cannot_disagree_on_the_classes(voc, monkeypatch):
  def another_split_is_done(*args):
    (voc.parent / "records/label_map.txt").write_text("cow\n")
    return []

  monkeypatch.setattr(files, "sha256", lambda path: another_split_is_done() or "")
  with pytest.raises(ValueError, match=r"label_map.txt: holds other classes than cat, dog"):
    _convert(voc)
  assert os.listdir(voc.parent / "records") == ["label_map.txt"]
