"""The study of the gain: sets that hold one another, equal arms, its table and its picture."""

import itertools
import json
import pathlib
import shlex
import sys

import pytest

from benchmarks import gain
from benchmarks.accuracy import data
from benchmarks.gains import picture, records, tables
from mtl_ssl_tf import compare
from mtl_ssl_tf.command_line import compare as compare_flags
from mtl_ssl_tf.comparison import arms as arms_lib


def options(*words: str):
  return gain._parser().parse_args(["--output_dir", "out", *words])


def test_a_larger_set_holds_the_images_of_a_smaller_one():
  stems = [f"{number:03d}" for number in range(50)]
  sets = [set(data.first_of(stems, number)) for number in (1, 7, 20, 50)]
  assert [len(one) for one in sets] == [1, 7, 20, 50]
  assert all(small < large for small, large in itertools.pairwise(sets))
  assert data.first_of(stems[::-1], 7) == data.first_of(stems, 7) != stems[:7]
  with pytest.raises(ValueError, match="51 images to train on; accepted: up to the 50"):
    data.first_of(stems, 51)


def test_sets():
  scenes = gain.source("scenes:30", options())
  assert (scenes.num_images, scenes.folder, gain.set_name(scenes)) == (30, None, "scenes_30")
  assert gain.source("scenes:30", options("--final")).drawing != scenes.drawing
  assert scenes.context_percent == 100
  less = gain.source("scenes:30:40", options())
  assert (less.context_percent, gain.set_name(less)) == (40, "scenes-context-40_30")
  bccd = gain.source("bccd:9", options("--bccd", "cells"))
  assert (bccd.num_images, bccd.train, bccd.test) == (9, "train", "val")
  assert gain.source("bccd:9", options("--bccd", "cells", "--final")).test == "test"


@pytest.mark.parametrize(
  "text",
  ["scenes", "scenes:0", "scenes:many", "cards:3", ":3", "bccd:3:50", "scenes:3:x", "scenes:3:4:5"],
)
def test_a_set_of_another_form(text):
  with pytest.raises(ValueError, match="accepted: scenes:IMAGES, scenes:IMAGES:PERCENT or bccd"):
    gain.source(text, options("--bccd", "cells"))


def test_bccd_without_a_folder():
  with pytest.raises(ValueError, match="--bccd names no folder"):
    gain.source("bccd:3", options())


def test_only_the_images_of_a_set_are_trained_on(tmp_path, monkeypatch):
  monkeypatch.setattr(data, "run_module", lambda *words: None)
  monkeypatch.setattr(data, "_write_coco", lambda found: None)
  folder = tmp_path / "cells"
  for split, names in (("train", "abcdefgh"), ("val", "xy")):
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
  made = data.prepare(data.bccd(folder, False, 3), tmp_path / "set")
  lists = made.folder / "voc" / "ImageSets" / "Main"
  train = (lists / "train.txt").read_text().split()
  assert len(train) == 3 and set(train) < set("abcdefgh")
  assert (lists / "test.txt").read_text().split() == ["x", "y"]


def test_scenes_are_drawn_as_they_are_asked_for(tmp_path, monkeypatch):
  called = []
  monkeypatch.setattr(data, "run_module", lambda *words: called.append(words))
  data._draw(data.scenes(30, False, 40), tmp_path / "drawn")
  given = dict(word.removeprefix("--").split("=") for word in called[0][1:])
  assert given == {
    "output_dir": str(tmp_path / "drawn"),
    "num_train": "30",
    "seed": "1",
    "context_percent": "40",
  }


def test_arms_differ_in_the_method_alone(tmp_path, monkeypatch):
  monkeypatch.chdir(data.ROOT)
  one = data.DataSet("scenes", tmp_path)
  words = ["--arms", "full", "task1", "--seeds", "4", "7", "--jobs", "1", "--evaluations", "3"]
  command = gain.comparison(one, tmp_path / "scenes_30", 90, options(*words))
  assert command[:3] == [sys.executable, "-m", "mtl_ssl_tf.compare"]
  args = compare_flags.parser().parse_args(command[3:])
  assert (args.seeds, args.steps, args.evaluations, args.jobs) == ([4, 7], 90, 3, 1)
  assert args.refinement_ablation and args.output_dir == str(tmp_path / "scenes_30")
  arms = arms_lib.parse(args.configs, args.variants, args.params_override)
  assert [arm.name for arm in arms] == ["baseline", "full", "task1"]
  resolved = {arm.name: compare.resolve(arm, args.experiment) for arm in arms}
  weights = "task.auxiliary.{}.loss_weight"
  names = [weights.format(name) for name in ("closeness", "foreground", "multi_object")]
  assert arms_lib.differences(resolved) == {
    names[0]: {"baseline": 0.0, "full": 0.3, "task1": 0.0},
    names[1]: {"baseline": 0.0, "full": 1.0, "task1": 0.0},
    names[2]: {"baseline": 0.0, "full": 1.0, "task1": 1.0},
    "task.refinement.enabled": {"baseline": False, "full": True, "task1": True},
  }
  for fields in resolved.values():
    assert fields["task.train_data.input_path"] == one.records("train")
    assert fields["task.validation_data.input_path"] == one.records("test")
    assert fields["task.label_map"] == str(tmp_path / "records" / "label_map.txt")


def test_every_arm_differs_from_full(tmp_path, monkeypatch):
  monkeypatch.chdir(data.ROOT)
  names = list(gain.arm_parts())
  assert names[0] == "full" and "baseline" not in names and len(names) > 15
  command = gain.comparison(
    data.DataSet("scenes", tmp_path), tmp_path, 90, options("--arms", *names)
  )
  args = compare_flags.parser().parse_args(command[3:])
  arms = arms_lib.parse(args.configs, args.variants, args.params_override)
  resolved = {arm.name: compare.resolve(arm, args.experiment) for arm in arms}
  full = resolved["full"]
  changed = {
    name: {field: value for field, value in fields.items() if value != full[field]}
    for name, fields in resolved.items()
  }
  assert changed.pop("full") == {}
  assert all(changed.values()) and len(set(map(str, changed.values()))) == len(changed)
  # What is said to be as in the released code is what the overlay of the released code sets.
  (released,) = arms_lib.parse(
    [f"released={gain.SMALL_INPUTS}+{gain.FULL}+configs/overlays/released.yaml"], ["a=b=c"]
  )[:1]
  released_fields = compare.resolve(released, args.experiment)
  of_released = {name: fields for name, fields in changed.items() if name.startswith("released_")}
  assert len(of_released) == 6
  for fields in of_released.values():
    assert fields == {field: released_fields[field] for field in fields}


def test_items_of_the_recipe(tmp_path, monkeypatch):
  monkeypatch.chdir(data.ROOT)
  names = list(gain.recipe_items())
  words = ["--arms", "--config", "benchmarks/pretraining/detector.yaml", "--recipe", *names]
  command = gain.comparison(data.DataSet("bccd", tmp_path), tmp_path, 90, options(*words))
  args = compare_flags.parser().parse_args(command[3:])
  arms = arms_lib.parse(args.configs, args.variants, args.params_override)
  resolved = {arm.name: compare.resolve(arm, args.experiment) for arm in arms}
  first = resolved.pop("baseline")
  assert list(resolved) == names
  changed = {
    name: {field: value for field, value in fields.items() if value != first.get(field)}
    for name, fields in resolved.items()
  }
  data_field = "task.train_data."
  assert {name: fields for name, fields in changed.items() if name not in ("adamw", "ema")} == {
    "color_jitter": {
      f"{data_field}augmentation.color_jitter.{name}": value
      for name, value in (
        ("brightness", 0.4),
        ("contrast", 0.4),
        ("saturation", 0.4),
        ("hue", 0.02),
      )
    },
    "copy_paste": {f"{data_field}augmentation.copy_paste": 0.5},
    "large_scale_jitter": {
      f"{data_field}scale_min": 0.5,
      f"{data_field}scale_max": 2.0,
      f"{data_field}scale_crop": "input",
    },
    "mosaic": {f"{data_field}augmentation.mosaic": 0.5},
    "no_zoom": {f"{data_field}scale_min": 1.0, f"{data_field}scale_max": 1.0},
    "rotate_90": {f"{data_field}augmentation.rotate_90": 0.5},
  }
  assert changed["ema"] and all("ema" in field for field in changed["ema"])
  optimizer = "trainer.optimizer_config.optimizer."
  assert all(field.startswith((optimizer, "task.regularization.")) for field in changed["adamw"])
  assert changed["adamw"][f"{optimizer}type"] == "adamw"


def compared(baseline, full, off=None):
  """What `comparison.json` has of two arms."""
  gained = None
  if baseline and full:
    gained = {"full": {"mean": full["0"] - baseline["0"], "low": None, "high": None, "count": 1}}
  return {
    "arms": ["baseline", "full"],
    "figures": {
      "50": {"baseline": {"0": 10.0}, "full": {}},
      "100": {"baseline": baseline, "full": full},
    },
    "cpu_minutes": {"baseline": [2.0, 4.0], "full": []},
    "refinement_ablation": {"full": {"refinement_off": off or {}, "without_closeness": {"0": 1.0}}},
    "differences": gained or {},
  }


def test_rows_and_table():
  found = {
    "scenes_150_100steps": compared({"0": 40.0, "1": 44.0}, {"0": 60.0}, {"0": 55.0}),
    "scenes_30_100steps": compared({"0": 20.0}, {}),
    "bccd_9_100steps": compared({"0": 1.0}, {"0": 2.0}),
  }
  found["scenes_150_100steps"]["differences"]["full"] |= {"low": 18.5, "high": 21.5}
  rows = tables.rows(found)
  names = [(row["data"], row["images"], row["arm"]) for row in rows]
  assert names == [
    ("bccd", 9, "baseline"),
    ("bccd", 9, "full"),
    ("scenes", 30, "baseline"),
    ("scenes", 150, "baseline"),
    ("scenes", 150, "full"),
  ]
  baseline, full = rows[-2:]
  assert baseline["steps"] == 100 and baseline["earlier"] == {50: 10.0, 100: 42.0}
  assert (baseline["difference"], baseline["cpu_minutes"]) == (None, 3.0)
  assert full["unrefined"] == {"0": 55.0} and full["difference"]["mean"] == 20.0
  lines = tables.report(rows).splitlines()
  assert lines[-2] == "| scenes | 150 | 100 | baseline | 2 | 42.0 ± 2.8 |  |  | 3.0 |"
  assert lines[-1].startswith(
    "| scenes | 150 | 100 | full | 1 | 60.0 | +20.0 (+18.5 to +21.5) | 55.0 |"
  )
  assert "| full | 1 | 2.0 | +1.0 |" in lines[3]


def test_points_of_the_picture(tmp_path):
  rows = tables.rows(
    {
      "scenes_150_100steps": compared({"0": 40.0, "1": 44.0}, {"0": 60.0}),
      "scenes_30_100steps": compared({"0": 20.0}, {"0": 30.0}),
    }
  )
  accuracies = picture.accuracies(rows, "images", "baseline")
  assert accuracies[0] == (30, 20.0, 0.0)
  assert accuracies[1][:2] == (150, 42.0) and accuracies[1][2] == pytest.approx(8.0**0.5)
  assert picture.gains(rows, "images", "full") == [(30, 10.0, 10.0, 10.0), (150, 20.0, 20.0, 20.0)]
  assert picture.gains(rows, "images", "baseline") == []
  assert picture.accuracies(rows[:2], "steps", "full") == [(100, 30.0, 0.0)]
  assert list(picture.grouped(rows, "images")) == ["scenes, 100 steps"]
  by_images = picture.grouped(rows, "steps")
  assert list(by_images) == ["scenes, 30 images", "scenes, 150 images"]
  assert [row["arm"] for row in by_images["scenes, 30 images"]] == ["baseline", "full"]
  for against in ("images", "steps"):
    picture.draw(rows, against, tmp_path / "gain.png")
    assert (tmp_path / "gain.png").stat().st_size > 5_000


def test_arms_beside_each_other(tmp_path):
  one = compared({"0": 40.0}, {"0": 60.0})
  several = compared({"0": 40.0}, {"0": 60.0})
  several["arms"].append("task1")
  several["figures"] = {"100": {"baseline": {"0": 40.0}, "full": {"0": 60.0}, "task1": {"0": 45.0}}}
  several["cpu_minutes"]["task1"] = [2.0]
  several["differences"]["task1"] = {"mean": 5.0, "low": 3.0, "high": 8.0, "count": 1}
  rows = tables.rows({"scenes_30_100steps": one, "scenes_150_100steps": several})
  assert picture.compared_arms(rows) == {
    "scenes, 30 images, 100 steps": [("full", 20.0, 20.0, 20.0)],
    "scenes, 150 images, 100 steps": [("full", 20.0, 20.0, 20.0), ("task1", 5.0, 3.0, 8.0)],
  }
  path = tmp_path / "arms.png"
  picture.draw_arms(rows[:2], path)
  assert not path.exists()
  picture.draw_arms(rows, path)
  assert path.stat().st_size > 5_000


def test_arms_of_a_column():
  rows = [{"arm": arm} for arm in ("baseline", "full", "task1", "full", "baseline")]
  assert picture.drawn_arms(rows) == ["baseline", "full"]
  assert picture.drawn_arms(rows[:3]) == ["baseline", "full", "task1"]


def test_records_of_one_set():
  def record(seeds, figures, differences=()):
    return {
      "arms": list(figures),
      "figures": {
        step: {arm: dict(zip(seeds, values, strict=True)) for arm, values in figures.items()}
        for step in ("50", "100")
      },
      "refinement_ablation": {"full": {"refinement_off": dict.fromkeys(seeds, 1.0)}},
      "differences": dict(differences),
      "cpu_minutes": {arm: [float(seed) for seed in seeds] for arm in figures},
    }

  first = {"mean": 10.0, "low": 8.0}
  own = {"mean": 2.0, "low": 1.0}
  found = records.merged(
    [
      record("01", {"baseline": [10.0, 20.0], "full": [20.0, 30.0]}, {"full": first}.items()),
      # A further seed.
      record("2", {"baseline": [30.0], "full": [34.0]}, {"full": {"mean": 4.0}}.items()),
      # Another arm, with its own baseline for a seed that there is.
      record("1", {"baseline": [70.0], "task1": [72.0]}, {"task1": own}.items()),
    ]
  )
  assert found["arms"] == ["baseline", "full", "task1"]
  for step in ("50", "100"):
    assert found["figures"][step] == {
      "baseline": {"0": 10.0, "1": 20.0, "2": 30.0},
      "full": {"0": 20.0, "1": 30.0, "2": 34.0},
      "task1": {"1": 72.0},
    }
  assert found["cpu_minutes"] == {
    "baseline": [0.0, 1.0, 2.0],
    "full": [0.0, 1.0, 2.0],
    "task1": [1.0],
  }
  assert found["refinement_ablation"] == {"full": {"refinement_off": dict.fromkeys("012", 1.0)}}
  assert set(found["differences"]) == {"full", "task1"}
  assert found["differences"]["task1"] == own
  # 10, 10 and 4: deviation 3.46, of which t of 2 degrees makes an interval of 8.6 to each side.
  difference = found["differences"]["full"]
  assert (difference["count"], difference["mean"]) == (3, 8.0)
  assert difference["low"] == pytest.approx(8.0 - 4.303 * 12.0**0.5 / 3.0**0.5, abs=1e-3)
  single = records.merged([record("0", {"baseline": [1.0], "full": [2.0]}, {"full": own}.items())])
  assert single["differences"] == {"full": own}


def test_records_of_folders(tmp_path):
  place = tmp_path / "scenes_3_50steps"
  place.mkdir()
  (place / "comparison.json").write_text(json.dumps(compared({"0": 20.0}, {"0": 30.0})))
  (place / "comparison_more.json").write_text(json.dumps(compared({"1": 20.0}, {})))
  (tmp_path / "other").mkdir()
  assert list(records.read(tmp_path, ["*"])) == ["scenes_3_50steps"]
  found = records.read(tmp_path, ["scenes_3_50steps", "*"])["scenes_3_50steps"]
  assert found["figures"]["100"] == {"baseline": {"0": 20.0, "1": 20.0}, "full": {"0": 30.0}}
  assert records.read(tmp_path, ["scenes_4*"]) == {}


def test_a_report_of_what_there_is(tmp_path, monkeypatch, capsys):
  def compare_nothing(command, cwd):
    folder = pathlib.Path(command[command.index("--output_dir") + 1])
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(compared({"0": 20.0}, {"0": 30.0})))
    return type("Process", (), {"returncode": int(folder.name == "scenes_4_60steps")})

  monkeypatch.setattr(data, "prepare", lambda one, folder: data.DataSet(one.name, folder))
  monkeypatch.setattr(gain.subprocess, "run", compare_nothing)
  words = shlex.split(f"--output_dir {tmp_path} --sets scenes:3 scenes:4 --steps 50 60")
  assert gain.main(words) == 1
  shown = capsys.readouterr()
  assert (
    "not complete: scenes_4_60steps\n" in shown.err and "| scenes | 3 | 100 | full |" in shown.out
  )
  folder = tmp_path / "choosing"
  assert len(json.loads((folder / "gain.json").read_text())) == 2 * 2 * 2
  assert all((folder / name).exists() for name in ("gain.md", "gain_steps.png", "gain_arms.png"))
  assert "gain.json, gain.md, gain_images.png, gain_steps.png" in shown.out
  assert gain.main([*words, "--only_report"]) == 0
  capsys.readouterr()
  only = shlex.split(f"--output_dir {tmp_path} --only_report")
  for more, number in (
    ("", 4),
    ("--sets scenes:4", 2),
    ("--sets scenes:4 --steps 60", 1),
    ("--sets scenes:4 scenes:3 --steps 50 --seeds 1", 2),
  ):
    assert gain.main([*only, *shlex.split(more)]) == 0
    assert len(json.loads((folder / "gain.json").read_text())) == 2 * number
  assert gain.main([*only, "--sets", "scenes:5"]) == 1
  assert gain.main([*words, "--only_report", "--final"]) == 1
  assert "holds no comparison" in capsys.readouterr().err
