"""Tests of the files and the command line of the embedded data set."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import defusedxml.ElementTree
import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.data import synthetic
from mtl_ssl_tf.data.synthetic_scenes import brushes as drawing
from mtl_ssl_tf.data.synthetic_scenes import scenes

_SMALL = {"num_train": 3, "num_val": 2, "height": 96, "width": 128}


def _contents(root: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
  }


def _write(root: pathlib.Path, **changes) -> dict[str, bytes]:
  assert synthetic.write_dataset(root, synthetic.DatasetArguments(**_SMALL | changes))
  return _contents(root)


def _run_main(capsys, *flags: str) -> tuple[int, str, str]:
  try:
    status = synthetic.main(flags)
  except SystemExit as stop:
    status = stop.code
  return status, *capsys.readouterr()


class TestFiles:
  def test_same_arguments_same_bytes(self, tmp_path):
    assert _write(tmp_path / "one") == _write(tmp_path / "two")

  def test_an_image_does_not_depend_on_how_many_there_are(self, tmp_path):
    few, many = _write(tmp_path / "few"), _write(tmp_path / "many", num_train=5, num_val=4)
    drawn = {name: data for name, data in few.items() if name.endswith((".jpg", ".xml"))}
    assert len(drawn) == 10
    assert drawn.items() <= many.items()

  def test_seeds_splits_and_indices_differ(self, tmp_path):
    first, second = _write(tmp_path / "first"), _write(tmp_path / "second", seed=1)
    images = [
      data for files in (first, second) for name, data in files.items() if name.endswith(".jpg")
    ]
    assert len(set(images)) == len(images) == 10

  def test_themes_take_turns(self, monkeypatch):
    monkeypatch.setattr(scenes, "draw_scene", lambda rng, height, width, theme: theme)
    arguments = synthetic.DatasetArguments()
    themes = [synthetic.draw_image(arguments, "val", i) for i in range(4)]
    assert themes == [scenes.TABLE, scenes.YARD] * 2

  @pytest.mark.parametrize("percent", [0, 60, 99])
  def test_with_less_context_classes_of_look_alikes_are_drawn_by_lot(self, percent):
    """Nothing but these classes changes; half of the lots give the class that it had."""
    whole = synthetic.DatasetArguments(seed=4)
    less = dataclasses.replace(whole, context_percent=percent)
    kept, changed = 0, 0
    for i in range(150):
      one, other = (synthetic.draw_image(arguments, "train", i) for arguments in (whole, less))
      assert (one.image == other.image).all()
      for before, after in zip(one.objects, other.objects, strict=True):
        assert dataclasses.replace(after, name=before.name) == before
        if before.name not in ("orange", "ball"):
          assert after.name == before.name
          continue
        assert after.name in ("orange", "ball")
        kept, changed = kept + (after.name == before.name), changed + (after.name != before.name)
    assert kept + changed > 150
    expected = 0.5 * (1.0 - percent / 100.0)
    assert abs(changed / (kept + changed) - expected) < 0.08

  def test_lots_are_drawn_by_numbers_of_their_own(self, monkeypatch):
    seeds, default_rng = [], np.random.default_rng

    def draw_by(seed):
      seeds.append(tuple(seed))
      return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", draw_by)
    arguments = synthetic.DatasetArguments(height=96, width=96, context_percent=50)
    for split in synthetic.SPLITS:
      for i in range(3):
        synthetic.draw_image(arguments, split, i)
    assert len(set(seeds)) == len(seeds) == 12

  def test_a_card_from_before_there_was_a_choice_of_context(self, tmp_path):
    _write(tmp_path / "a")
    assert "context_percent" not in json.loads((tmp_path / "a" / "dataset.json").read_text())
    _write(tmp_path / "b", context_percent=40)
    assert json.loads((tmp_path / "b" / "dataset.json").read_text())["context_percent"] == 40
    with pytest.raises(ValueError, match="says context_percent 40 and not None"):
      _write(tmp_path / "b")

  def test_layout_is_that_of_voc(self, tmp_path):
    files = _write(tmp_path)
    train, val = [f"train_00000{i}" for i in range(3)], [f"val_00000{i}" for i in range(2)]
    assert files["ImageSets/Main/train.txt"].decode().split() == train
    assert files["ImageSets/Main/val.txt"].decode().split() == val
    assert files["ImageSets/Main/trainval.txt"].decode().split() == train + val
    assert set(files) == {
      *(f"ImageSets/Main/{name}.txt" for name in ("train", "val", "trainval")),
      *(f"JPEGImages/{stem}.jpg" for stem in train + val),
      *(f"Annotations/{stem}.xml" for stem in train + val),
      "dataset.json",
    }
    assert json.loads(files["dataset.json"]) == {
      "generator": "mtl_ssl_tf.data.synthetic",
      "version": synthetic.VERSION,
      "seed": 0,
      **_SMALL,
    }

  def test_images_and_annotations_are_those_of_the_scenes(self, tmp_path):
    _write(tmp_path, num_train=6)
    arguments = synthetic.DatasetArguments(**_SMALL)
    for i in range(6):
      scene = synthetic.draw_image(arguments, "train", i)
      with Image.open(tmp_path / "JPEGImages" / f"train_{i:06d}.jpg") as image:
        assert image.format == "JPEG" and image.mode == "RGB"
        # Grain and colour edges suffer from JPEG; a wrong scene would be some 60 grey levels off.
        assert np.abs(np.asarray(image, float) - scene.image).mean() < 8.0

      root = defusedxml.ElementTree.parse(tmp_path / "Annotations" / f"train_{i:06d}.xml").getroot()
      assert root.tag == "annotation"
      assert root.findtext("folder") == "JPEGImages"
      assert root.findtext("filename") == f"train_{i:06d}.jpg"
      assert root.findtext("source/database")
      assert [root.findtext(f"size/{key}") for key in ("width", "height", "depth")] == [
        "128", "96", "3",
      ]  # fmt: skip
      assert root.findtext("segmented") == "0"
      elements = root.findall("object")
      for element, item in zip(elements, scene.objects, strict=True):
        assert element.findtext("name") == item.name
        assert item.name in drawing.KINDS
        assert element.findtext("pose") == "Unspecified"
        assert element.findtext("truncated") == str(int(item.truncated))
        assert element.findtext("difficult") == str(int(item.difficult))
        box = [int(element.findtext(f"bndbox/{k}")) for k in ("ymin", "xmin", "ymax", "xmax")]
        assert tuple(box) == item.box_orig


class TestFolder:
  def test_the_same_again_is_left_alone(self, tmp_path):
    before = _write(tmp_path)
    assert not synthetic.write_dataset(tmp_path, synthetic.DatasetArguments(**_SMALL))
    assert _contents(tmp_path) == before

  def test_another_data_set_is_refused(self, tmp_path):
    before = _write(tmp_path)
    with pytest.raises(ValueError, match=r"another data set.* seed 0 and not 4; accepted: a new"):
      _write(tmp_path, seed=4)
    assert _contents(tmp_path) == before

  def test_foreign_files_are_refused(self, tmp_path):
    (tmp_path / "thesis.txt").write_text("dear to somebody")
    with pytest.raises(ValueError, match=r"is not empty and holds no dataset\.json"):
      _write(tmp_path)
    assert list(_contents(tmp_path)) == ["thesis.txt"]

  @pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "holds .*accepted: a JS")]
  )
  def test_a_broken_card_is_refused(self, tmp_path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=message):
      _write(tmp_path)

  def test_a_lost_file_is_named(self, tmp_path):
    _write(tmp_path)
    (tmp_path / "Annotations" / "val_000001.xml").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 files .* Annotations/val_000001\.xml"):
      _write(tmp_path)

  def test_a_killed_run_is_not_whole_and_is_finished_by_the_same_command(
    self, tmp_path, monkeypatch
  ):
    draw_scene, calls = scenes.draw_scene, []

    def killed_at_the_third(*args):
      calls.append(args)
      if len(calls) == 3:
        raise KeyboardInterrupt
      return draw_scene(*args)

    with monkeypatch.context() as patch:
      patch.setattr(scenes, "draw_scene", killed_at_the_third)
      with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "killed")
    assert not (tmp_path / "killed" / "dataset.json").exists()
    with pytest.raises(ValueError, match="another data set"):
      _write(tmp_path / "killed", seed=4)
    assert _write(tmp_path / "killed") == _write(tmp_path / "straight")


class TestCommandLine:
  def test_runs_without_tensorflow_and_reports(self, tmp_path):
    program = (
      "import sys; from mtl_ssl_tf.data import synthetic; status = synthetic.main(sys.argv[1:]);"
      "assert 'tensorflow' not in sys.modules; sys.exit(status)"
    )
    flags = [f"--{name}={value}" for name, value in _SMALL.items()]
    command = [sys.executable, "-c", program, f"--output_dir={tmp_path / 'set'}", *flags]
    root = pathlib.Path(synthetic.__file__).parents[2]
    first = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "5/5 images" in first.stderr
    assert first.stdout == f"synthetic: wrote {tmp_path / 'set'}\n"
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == (f"synthetic: already there: {tmp_path / 'set'}\n", "")

  def test_images_and_objects_are_counted_now_and_then(self, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(synthetic, "_SECONDS_BETWEEN_REPORTS", 0.0)
    flags = [f"--{name}={value}" for name, value in _SMALL.items()]
    status, _, told = _run_main(capsys, f"--output_dir={tmp_path}", *flags)
    told = told.splitlines()
    assert [line.split(" ")[1] for line in told] == [f"{number}/5" for number in range(1, 6)]
    texts = [path.read_text() for path in (tmp_path / "Annotations").iterdir()]
    count = sum(text.count("<object>") for text in texts)
    assert status == 0 and count > 5
    assert told[-1].startswith(f"synthetic: 5/5 images, {count} objects, ")

  def test_help_states_the_rules(self, capsys):
    status, out, _ = _run_main(capsys, "--help")
    assert status == 0
    assert "Look-alikes" in out and "--num_train" in out

  @pytest.mark.parametrize(
    ("flag", "message"),
    [
      ("--num_train=0", "--num_train is 0; accepted: 1 to 999999"),
      ("--num_val=-3", "--num_val is -3; accepted: 1 to 999999"),
      ("--seed=-1", "--seed is -1; accepted: 0 to"),
      ("--height=95", "--height is 95; accepted: 96 to 2048"),
      ("--width=5000", "--width is 5000; accepted: 96 to 2048"),
      ("--context_percent=101", "--context_percent is 101; accepted: 0 to 100"),
      ("--num_train=many", "argument --num_train: invalid int value: 'many'"),
      ("--num=7", "unrecognized arguments: --num=7"),
    ],
  )
  def test_bad_arguments_give_one_line(self, tmp_path, capsys, flag, message):
    target = tmp_path / "new"
    status, out, err = _run_main(capsys, f"--output_dir={target}", flag)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and message in err
    assert not target.exists()

  def test_output_dir_is_required_and_must_be_a_folder(self, tmp_path, capsys):
    status, _, err = _run_main(capsys)
    assert status == 1 and "--output_dir" in err
    (tmp_path / "file").touch()
    status, _, err = _run_main(capsys, f"--output_dir={tmp_path / 'file'}")
    assert status == 1 and err.count("\n") == 1 and str(tmp_path / "file") in err
