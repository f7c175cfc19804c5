"""Runs the blocks of the pages, in a folder that has the names in them.

The blocks are run as they are written, one after the other, in one folder: `DATA` is a folder there
with the embedded data set, `train.json` its annotations in COCO's form, and so on. `make_folder`
says what is there from the beginning, `BEFORE` what a page takes for given further on.

What a block does at its real size is cut short, by flags behind those of the page: a training to
two steps of a small detector, a benchmark to one row. A command that a page has again, word for
word, is not run again. Commands are called in this process, which has loaded TensorFlow, and so are
those that they would start themselves (`_in_this_process`). Trainings run without graphs, which
take longer to trace than two steps to compute.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import cv2
import numpy as np
import tensorflow as tf
import yaml
from absl import app
from absl import flags as absl_flags
from PIL import Image

from benchmarks import start_up
from benchmarks.accuracy import data as accuracy_data
from benchmarks.cost import jobs
from mtl_ssl_tf import cli, train
from mtl_ssl_tf.checkpoints import keras_weights, reference
from mtl_ssl_tf.command_line import train as train_flags
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.configs import loading, validation
from mtl_ssl_tf.data import synthetic
from mtl_ssl_tf.data.synthetic_scenes import scenes
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.suggestion import timing
from tests.checkpoints import slim_files
from tests.documentation import commands, pages

LANGUAGES = ("sh", "console", "python")
# The README's path from annotations to a report, and pages that go on from what it leaves behind.
ON_A_RUN = (
  "README.md",
  "docs/evaluation.md",
  "docs/input.md",
  "docs/interruptions.md",
  "docs/label_audit.md",
  "docs/prediction.md",
  "docs/report.md",
  "docs/serving.md",
  "docs/troubleshooting.md",
  "docs/validation.md",
)
# Sections whose blocks another test runs: page and heading -> that test.
ELSEWHERE = {
  ("README.md", "Install"): "tests/package_install_test.py::test_imports_from_another_folder",
}
SCENES = synthetic.DatasetArguments(num_train=6, num_val=3, height=96, width=128)
CONVERSION = ("README.md", "Fine-tune on your own data")  # Its first block.
_SHORT_TRAINER = {
  "train_steps": 2,
  "steps_per_loop": 2,
  "summary_interval": 2,
  "validation_interval": 2,
  "checkpoint_interval": 2,
}
# What a training has besides the flags of the page: two steps of a small detector.
SHORT = {
  "task": {
    "init_checkpoint": "",
    "backbone": {
      "type": "mobilenet_v1",
      "depth_multiplier": 0.25,
      "freeze": [],
      "norm": {"type": "batch"},
    },
    "fpn": {"depth": 16},
    "rpn": {"depth": 16, "pre_nms_top_k": 32, "num_proposals": 8},
    "roi_head": {"batch_size": 8, "fpn": {"dense_depth": 16}},
    "auxiliary": {
      "features": "main_head",
      "multi_object": {"loss_weight": 1.0, "num_windows": 4},
      "closeness": {"loss_weight": 0.3},
      "foreground": {"loss_weight": 1.0, "mask_size": 16},
    },
    "refinement": {"enabled": True, "train_rois": 4},
    "data": {"input_size": [96, 128], "short_side": 96, "long_side": 128},
    "train_data": {"global_batch_size": 2},
    "pictures": {"interval": 0},
  },
  "trainer": _SHORT_TRAINER,
}
# The same of a pretraining, whose network is that of `SHORT`.
SHORT_PRETRAINING = {
  "task": {
    "backbone": {"depth_multiplier": 0.25},
    "queue_size": 8,
    "projection_hidden": 16,
    "group_size": 2,
    "train_data": {"global_batch_size": 4, "composite": {"size": 64}},
  },
  "trainer": _SHORT_TRAINER,
}
_OWN_DATA, _EXPORTED = "configs/own_data.yaml", "exported/mine"
_SUGGESTED = "SUGGESTED.yaml"
_SHORT_FILE, _SHORT_PRETRAINING_FILE = "short.yaml", "short_pretraining.yaml"
# R-FCN's second stage has no features of a single region.
_RFCN, _RFCN_FILE = {"task": {"auxiliary": {"features": "shared_map"}}}, "short_rfcn.yaml"
# Of a step that is compiled, which takes longest of all: no auxiliary tasks, no refinement.
_LEAN_FILE = "lean.yaml"
_LEAN = {
  "task": {
    "auxiliary": {
      name: {"loss_weight": 0.0} for name in ("multi_object", "closeness", "foreground")
    },
    "refinement": {"enabled": False},
  },
}
_COMPILED = ["--config_file", _SHORT_FILE, "--config_file", _LEAN_FILE]
# Module -> flags behind those of the page.
_FLAGS: Mapping[str, Sequence[str]] = {
  "mtl_ssl_tf.data.synthetic": ["--num_train=6", "--num_val=3", "--height=96", "--width=128"],
  "mtl_ssl_tf.checkpoints.import_reference": ["--config_file", _SHORT_FILE],
  "mtl_ssl_tf.preflight": [*_COMPILED, "--no-largest_batch"],
  "mtl_ssl_tf.export_step": _COMPILED,
  # After two steps all scores are alike, so that rounding says which boxes are kept.
  "mtl_ssl_tf.serving.lite": ["--verify_images=0"],
  "mtl_ssl_tf.compare": ["--seeds", "0", "--steps", "2", "--evaluations", "1", "--jobs", "1"],
  # No row of ours but the labels: the other detector of the page, before and after them.
  "benchmarks.run": ["--small", "--only", "labels,steps", "--rows", "none"],
  "benchmarks.time_to_accuracy": [
    *("--data", "bccd", "--budgets", "1", "--seeds", "0", "--jobs", "1", "--no_inspection"),
  ],
  "benchmarks.start_up": ["--rows", "voc07_frcnn_mobilenet_mtl", "--repeats", "1"],
}
_FLAGS_OF_FOLDS = ["--folds", "2", "--steps", "2", "--jobs", "1"]
# Run without graphs; the others write graphs, read them, or compile them.
_WITHOUT_GRAPHS = (
  "mtl_ssl_tf.train",
  "mtl_ssl_tf.predict",
  "mtl_ssl_tf.explain",
  "mtl_ssl_tf.report",
  "mtl_ssl_tf.audit_labels",
  "mtl_ssl_tf.compare",
  "mtl_ssl_tf.tasks.replay",
  "benchmarks.run",
  "benchmarks.time_to_accuracy",
  "benchmarks.start_up",
)
# What the sentences around a block of Python say is there.
_NAMES_IN_PYTHON = "images = ['a.jpg', 'b.jpg']\n"
_BACKBONE = """
from mtl_ssl_tf.modeling.backbones import mobilenet_v1


def MyBackbone(norm_fn, recompute):
  return mobilenet_v1.MobileNetV1(norm_fn, 0.25, recompute=recompute)


"""
_BACKBONE_MODULE, _BACKBONE_NAME = "my_backbones", "my_network"
# Commands that were run in the folder, word for word; several pages have them.
_done: set[tuple[str, ...]] = set()


def blocks(page: str, heading: str = "") -> list[pages.Block]:
  """The blocks of a page, or of a section of it, that are run: all but those that it marks."""
  return [
    block
    for block in pages.blocks(page)
    if block.language in LANGUAGES
    and not block.is_marked
    and not any((page, one) in ELSEWHERE for one in block.headings)
    and (not heading or heading in block.headings)
  ]


def others() -> list[str]:
  """The pages that are not `ON_A_RUN`, the configurations first, which make the records."""
  return sorted(set(pages.names()) - set(ON_A_RUN), key=lambda page: (page[:4] == "docs", page))


@contextlib.contextmanager
def within(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Fills a folder for the blocks, and makes it the current one."""
  make_folder(folder)
  _done.clear()
  cache = {"XDG_CACHE_HOME": str(folder / "cache")}  # Pretraining keeps images there.
  with (
    contextlib.chdir(folder),
    mock.patch.dict(os.environ, cache),
    mock.patch.object(tf.saved_model, "load", _loaded_once(tf.saved_model.load)),
  ):
    yield folder


def _loaded_once(load: Callable) -> Callable:
  """Loads each export once, as loading and the first answers take longest of all."""
  loaded: dict[tuple[int, int], Any] = {}

  def load_or_take(path: str | os.PathLike[str], *arguments: Any, **options: Any) -> Any:
    about = pathlib.Path(path, "saved_model.pb").stat()
    key = about.st_ino, about.st_mtime_ns  # An export is verified before it gets its name.
    if key not in loaded:
      loaded[key] = load(path, *arguments, **options)
    return loaded[key]

  return load_or_take


def make_folder(folder: pathlib.Path) -> None:
  """Fills a folder with what the blocks take for given."""
  data = folder / "DATA"
  synthetic.write_dataset(data, SCENES)
  lists = data / "ImageSets" / "Main"
  shutil.copy(lists / "val.txt", lists / "test.txt")
  shutil.copy(lists / "train.txt", lists / "trainval.txt")
  shutil.copytree(pages.ROOT / "configs", folder / "configs")
  (folder / "docs").mkdir()
  for name, target in {
    "BCCD_FOLDER": "DATA",
    "IMAGES": "DATA/JPEGImages",
    "images": "DATA/JPEGImages",
    "train2017": "DATA/JPEGImages",
    "val2017": "DATA/JPEGImages",
    "test2017": "DATA/JPEGImages",
    "VOCdevkit/VOC2007": "../DATA",
    "records": "data/mine",
    "runs/baseline": "mine",
  }.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(target)
  _write_voc12(folder / "VOCdevkit" / "VOC2012")
  annotations = {split: _coco(data, split) for split in synthetic.SPLITS}
  (folder / "annotations").mkdir()
  for name, split in {
    "train.json": "train",
    "val.json": "val",
    "instances_val.json": "val",
    "annotations/instances_train2017.json": "train",
    "annotations/instances_val2017.json": "val",
  }.items():
    _write_json(folder / name, annotations[split])
  without = {**annotations["val"], "annotations": []}
  _write_json(folder / "annotations" / "image_info_test-dev2017.json", without)
  _write_cars_and_signs(folder, annotations["train"])
  _write_json(folder / "results.json", _results(annotations["val"]))
  (folder / "predictions").mkdir()
  _write_json(folder / "predictions" / "coco_results.json", _results(annotations["train"]))
  images = sorted((data / "JPEGImages").iterdir())[:2]
  for name in ("a.jpg", "b.jpg", "street.jpg", "image.jpg", "IMAGE"):
    shutil.copy(images[0], folder / name)
  (folder / "IMAGE_OR_FOLDER").mkdir()
  for image in images:
    shutil.copy(image, folder / "IMAGE_OR_FOLDER")
  (folder / "more" / "one").mkdir(parents=True)
  Image.open(images[1]).save(folder / "more" / "one" / "x.png")
  _write_video(folder / "clip.mp4", images)
  _write_configurations(folder)
  _write_peer(folder / "peers" / "odapi")


def _write_voc12(data: pathlib.Path) -> None:
  """Other images than those of VOC07, of other names."""
  synthetic.write_dataset(data, dataclasses.replace(SCENES, seed=1))
  for path in sorted(path for path in data.rglob("*") if path.is_file()):
    if path.suffix in (".xml", ".txt"):
      path.write_text(path.read_text().replace("train_", "2012_"))
    path.rename(path.with_name(path.name.replace("train_", "2012_")))
  lists = data / "ImageSets" / "Main"
  shutil.copy(lists / "train.txt", lists / "trainval.txt")


def _write_cars_and_signs(folder: pathlib.Path, truth: Mapping) -> None:
  """Two data sets, each of which lacks the objects of the other."""
  shutil.copytree(folder / "DATA", folder / "CARS")
  for path in (folder / "CARS" / "Annotations").iterdir():
    path.write_text(re.sub(r"<name>\w+</name>", "<name>car</name>", path.read_text()))
  (folder / "SIGNS").mkdir()
  (folder / "SIGNS" / "images").symlink_to("../DATA/JPEGImages")
  signs = [{**one, "category_id": 1} for one in truth["annotations"]]
  categories = [{"id": 1, "name": "sign"}]
  content = {**truth, "annotations": signs, "categories": categories}
  _write_json(folder / "SIGNS" / "train.json", content)
  (folder / "classes.txt").write_text("car\nvan\nsign\n")


def _write_json(path: pathlib.Path, content: object) -> None:
  path.write_text(json.dumps(content))


def _coco(data: pathlib.Path, split: str) -> dict:
  """A split of a VOC folder in COCO's form."""
  images, annotations = [], []
  themes = (scenes.TABLE, scenes.YARD)
  classes = [name for one in themes for name in (one.anchor, one.look_alike, *one.companions)]
  names = {name: number for number, name in enumerate(classes, start=1)}
  listed = (data / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
  size = {"width": SCENES.width, "height": SCENES.height}
  for number, name in enumerate(listed):
    root = ElementTree.parse(data / "Annotations" / f"{name}.xml").getroot()
    images.append({"id": number + 1, "file_name": f"{name}.jpg", **size})
    for found in root.iter("object"):
      box = [float(found.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
      width, height = box[2] - box[0], box[3] - box[1]
      annotations.append(
        {
          "id": len(annotations) + 1,
          "image_id": number + 1,
          "category_id": names[found.findtext("name")],
          "bbox": [box[0], box[1], width, height],
          "area": width * height,
          "iscrowd": 0,
        }
      )
  return {
    "images": images,
    "annotations": annotations,
    "categories": [{"id": number, "name": name} for name, number in names.items()],
  }


def _results(truth: Mapping) -> list[dict]:
  """Every object, detected."""
  return [
    {name: one[name] for name in ("image_id", "category_id", "bbox")} | {"score": 0.9}
    for one in truth["annotations"]
  ]


def _write_video(path: pathlib.Path, images: Sequence[pathlib.Path]) -> None:
  size = (SCENES.width, SCENES.height)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5.0, size)
  for image in images:
    writer.write(np.ascontiguousarray(np.asarray(Image.open(image).convert("RGB"))[..., ::-1]))
  writer.release()


def _write_configurations(folder: pathlib.Path) -> None:
  """The short ones, those that are compared, and start weights of their network."""
  (folder / _SHORT_FILE).write_text(yaml.safe_dump(SHORT))
  (folder / _SHORT_PRETRAINING_FILE).write_text(yaml.safe_dump(SHORT_PRETRAINING))
  (folder / _RFCN_FILE).write_text(yaml.safe_dump(_RFCN))
  (folder / _LEAN_FILE).write_text(yaml.safe_dump(_LEAN))
  (folder / _SUGGESTED).write_text(yaml.safe_dump({"base": [_OWN_DATA]}))
  bases = [_OWN_DATA, _SHORT_FILE]
  (folder / "full.yaml").write_text(yaml.safe_dump({"base": bases}))
  (folder / "baseline.yaml").write_text(yaml.safe_dump({"base": [*bases, _LEAN_FILE]}))
  params = loading.load_experiment("mtl_frcnn", [str(folder / _SHORT_FILE)])
  model = factory.build_detector(params.task, len(scenes.TABLE.companions) + 1)
  variables = reference.classification_variables(model, auxiliary=False)
  arrays = {name: found[0].numpy() for name, found in variables.items()}
  slim_files.write(folder / "PATH_OR_imagenet", arrays)


def _write_peer(folder: pathlib.Path) -> None:
  """Another detector's environment, and its program, as `--peer` wants them."""
  (folder / "bin").mkdir(parents=True)
  (folder / "bin" / "python").symlink_to(sys.executable)
  program = 'import json; print(json.dumps({"infer_s": 1.0, "train_s": 2.0}))\n'
  (folder / "time_detector.py").write_text(program)


def run(block: pages.Block) -> None:
  """Runs a block in the current folder.

  Raises:
    RuntimeError: a command of it failed, or printed something else than the page shows.
  """
  for page, words, prepare in BEFORE:
    if page == block.page and words in block.text:
      prepare()
  if block.language == "python":
    _run_python(block)
  elif block.language == "console":
    _run_console(block)
  else:
    _run_all(block, commands.split(block.text))


def _run_all(block: pages.Block, found: Sequence[commands.Command]) -> None:
  for command in found:
    status = _run(command.words)
    if status:
      raise RuntimeError(f"{block}: {' '.join(command.words)}: exit status {status}")


def _run_python(block: pages.Block) -> None:
  if "@registry.register" in block.text:
    # The module that the block after it imports.
    pathlib.Path(f"{_BACKBONE_MODULE}.py").write_text(_BACKBONE + block.text)
  with contextlib.ExitStack() as stack:
    stack.enter_context(mock.patch.object(Image.Image, "show"))  # It would open a window.
    stack.enter_context(mock.patch.object(sys, "path", [os.getcwd(), *sys.path]))
    stack.callback(sys.modules.pop, _BACKBONE_MODULE, None)
    stack.enter_context(mock.patch.dict(registry._BUILDERS))
    override = "task.backbone.type=" + _BACKBONE_NAME
    flags = [f"--config_file={_OWN_DATA}", f"--config_file={_SHORT_FILE}", "--mode=train"]
    flags += ["--model_dir=runs/my_network", f"--params_override={override}"]
    stack.enter_context(_as_program("program.py", flags))
    if "train.run()" in block.text:
      stack.enter_context(_without_graphs())
    exec(compile(_NAMES_IN_PYTHON + block.text, str(block), "exec"), {})


def _run_console(block: pages.Block) -> None:
  """Runs commands that are shown with what they print, and compares what each line begins with."""
  begun, shown = commands.of_console(block.text)
  said = io.StringIO()
  with contextlib.redirect_stdout(said):
    _run_all(block, commands.split("\n".join(begun)))
  found = iter(_first_words(said.getvalue().split("\n")))
  for word in _first_words(shown):
    if word not in found:
      raise RuntimeError(f"{block}: no line begins with {word!r} where the page has one")


def _first_words(lines: Sequence[str]) -> list[str]:
  """The first word of each line that begins with one; figures are those of a machine."""
  return [match[1] for line in lines if (match := re.match(r"\s*([A-Za-z]\w+)", line))]


def _run(words: Sequence[str]) -> int:
  """Runs a command; returns its exit status."""
  if ">" in words:
    *words, _, path = words
    with open(path, "w") as file, contextlib.redirect_stdout(file):
      return _run(words)
  program, script, *rest = words
  if program == "make":
    return _make(words[1:])
  if (program, script) == ("pip", "install"):
    return _pip(rest)
  if script in ("train.py", "export.py"):
    module = f"mtl_ssl_tf.{script.removesuffix('.py')}"
  elif program == "python" and script == "-m":
    module, *rest = rest
  elif program == "mtl-ssl":
    module = cli.COMMANDS[script][0]
  else:
    raise ValueError(f"{shlex.join(words)}: no program of ours")
  command = (module, *rest)
  if command in _done:
    return 0
  status = _call(module, [*rest, *_further_flags(module, rest)])
  if not status:
    _done.add(command)
  return status


def _further_flags(module: str, flags: Sequence[str]) -> Sequence[str]:
  if module == "mtl_ssl_tf.train":
    names = [_SHORT_FILE]
    if any("pretraining/" in flag for flag in flags):
      names = [_SHORT_PRETRAINING_FILE]
    elif any("rfcn" in flag for flag in flags):
      names.append(_RFCN_FILE)
    return [f"--config_file={name}" for name in names]
  if module == "mtl_ssl_tf.export":
    # The README's is verified, which takes most of the time.
    is_first = f"--export_dir={_EXPORTED}" in flags and not pathlib.Path(_EXPORTED).exists()
    return [] if is_first else ["--no-verify"]
  if module == "mtl_ssl_tf.audit_labels" and "--folds" in flags:
    return [*_FLAGS_OF_FOLDS, "--params_override", json.dumps(SHORT)]
  return _FLAGS.get(module, ())


def _make(targets: Sequence[str]) -> int:
  """Runs the commands of a target, which make itself would run in its own folder."""
  make = ["make", "--dry-run", "--old-file=.venv/.ready", f"--makefile={pages.ROOT / 'Makefile'}"]
  # As typed into a shell: the make that started these tests would say where this one works.
  around = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
  done = subprocess.run([*make, *targets], env=around, capture_output=True, text=True, check=True)
  for line in done.stdout.splitlines():
    program, *rest = shlex.split(line)
    if program != "echo" and (status := _run([program.removeprefix(".venv/bin/"), *rest])):
      return status
  return 0


def _pip(names: Sequence[str]) -> int:
  """Nothing is downloaded: the packages are among this environment's."""
  for name in names:
    importlib.metadata.distribution(name)
  return 0


def _call(module: str, flags: Sequence[str]) -> int:
  """Calls a command of this project in this process; returns its exit status."""
  is_compiled = any("enable_xla: true" in flag for flag in flags)
  with contextlib.ExitStack() as stack:
    stack.enter_context(_as_program(module, flags))
    if module in _WITHOUT_GRAPHS and not is_compiled:
      stack.enter_context(_without_graphs())
    stack.enter_context(_in_this_process())
    try:
      if module == "mtl_ssl_tf.train":
        _make_way(flags)
        train.run()
        return 0
      program = importlib.import_module(module)
      if hasattr(program, "main"):
        return program.main() or 0
      print(program.text(), end="")  # `configs.reference`
      return 0
    except SystemExit as end:
      if end.code is not None and not isinstance(end.code, int):
        print(end.code, file=sys.stderr)
        return 1
      return end.code or 0


def _make_way(flags: Sequence[str]) -> None:
  """Deletes the run of another page in the place of a training's."""
  given = dict(flag.partition("=")[::2] for flag in flags)
  folder = pathlib.Path(given["--model_dir"])
  if given.get("--mode") != "eval" and folder.exists():
    shutil.rmtree(folder)


@contextlib.contextmanager
def _as_program(name: str, flags: Sequence[str]) -> Iterator[None]:
  """The command line of a program; absl's flags are parsed once more, in the place of others."""
  with contextlib.ExitStack() as stack:
    stack.enter_context(mock.patch.object(sys, "argv", [name, *flags]))
    if "init" in absl_flags.FLAGS:
      stack.enter_context(mock.patch.object(train_flags, "define"))
    stack.enter_context(mock.patch.object(app, "run", _run_app))
    stack.enter_context(mock.patch.object(keras_weights, "_read", _without_download))
    yield


def _run_app(main: Callable, flags_parser: Callable) -> None:
  """Leaves no value of a flag to what is parsed next, here or in other tests of this process."""
  _forget_flags()
  try:
    main(flags_parser(sys.argv))
  finally:
    _forget_flags()


def _forget_flags() -> None:
  for name in train_flags.HELP:
    if name in absl_flags.FLAGS:  # absl reads `flagfile` itself.
      absl_flags.FLAGS[name].unparse()


def _without_download(make: Callable, weights: str, source: str):
  """A Keras network with random weights in the place of those that `imagenet` downloads."""
  del weights, source
  return make(include_top=False, weights=None)


@contextlib.contextmanager
def _without_graphs() -> Iterator[None]:
  tf.config.run_functions_eagerly(True)
  try:
    yield
  finally:
    tf.config.run_functions_eagerly(False)


@contextlib.contextmanager
def _in_this_process() -> Iterator[None]:
  """Commands call here what they would start in processes of their own, one after the other."""
  fresh = types.SimpleNamespace(run=_run_subprocess, PIPE=subprocess.PIPE)
  with (
    mock.patch.object(processes, "run", _run_processes),
    mock.patch.object(processes, "in_parallel", _in_turn),
    mock.patch.object(jobs, "_run", _run_job),
    mock.patch.object(accuracy_data, "run_module", _run_module),
    mock.patch.object(accuracy_data, "ROOT", pathlib.Path.cwd()),
    mock.patch.object(start_up, "subprocess", fresh),
    mock.patch.object(timing, "measure", lambda config_file: timing.Pace(30.0, 1.0)),
  ):
    yield


def _printed(command: Sequence[str]) -> tuple[int, str, str]:
  """Exit status, standard output and error of `python -m MODULE FLAGS`, or of `train.py`."""
  _, script, *flags = command
  module = "mtl_ssl_tf.train" if script == "train.py" else flags.pop(0)
  if {f"--config_file={name}" for name in (_OWN_DATA, _SUGGESTED)} & {*flags}:
    flags.append(f"--config_file={_SHORT_FILE}")
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = _call(module, flags)
  return status, out.getvalue(), err.getvalue()


def _run_subprocess(command: Sequence[str], **_) -> subprocess.CompletedProcess:
  status, out, err = _printed(command)
  return subprocess.CompletedProcess(command, status, out, err)


def _run_job(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
  if command[0] == sys.executable:
    return _printed(command)
  done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
  return done.returncode, done.stdout, done.stderr


def _run_processes(command: Sequence[str], log: pathlib.Path, *_, **__) -> processes.Usage:
  status, out, err = _printed(command)
  log.write_text(out + err)
  return processes.Usage(status, 3.0, 3.0, [(1, 1.0), (2, 3.0)])


def _run_module(module: str, *flags: str) -> None:
  assert _call(module, flags) == 0


def _in_turn(tasks: Mapping[str, Callable], processors: Sequence[int], report: Callable) -> set:
  failures = set()
  for number, (name, task) in enumerate(tasks.items(), 1):
    try:
      outcome = task(processors[0]) or "done"
    except processes.RunError as error:
      failures.add(name)
      outcome = str(error)
    report(number, name, outcome)
  return failures


def _records_of_demo() -> None:
  for split in synthetic.SPLITS:
    flags = ["--data_dir=DATA", f"--split={split}", "--output_dir=runs/demo/records"]
    assert _call("mtl_ssl_tf.data.pascal_voc", flags) == 0


def _records_of_voc() -> None:
  for block in blocks("configs/README.md", "Records of VOC07 and VOC12"):
    run(block)


def _released_checkpoint() -> None:
  """VOC's label map, and a checkpoint by the names of the authors' code."""
  _records_of_voc()
  files = ["configs/experiments/voc07_frcnn_resnet101_mtl.yaml", "configs/overlays/released.yaml"]
  params = loading.load_experiment("mtl_frcnn", [*files, _SHORT_FILE])
  classes = pathlib.Path("data/voc07/label_map.txt").read_text().split()
  model = factory.build_detector(params.task, len(classes) + 1)
  arrays = {name: one.numpy() for name, one in reference.reference_variables(model).items()}
  folder = pathlib.Path("PATH")
  folder.mkdir()
  slim_files.write(folder / "model.ckpt-NUMBER", {**arrays, "global_step": np.int64(7)})


def _results_of_step_3000() -> None:
  pathlib.Path("runs/bccd/results/step_3000").symlink_to("step_2")


def _nonfinite_step() -> None:
  """A step whose loss is not finite, because the rate was too high."""
  rate = "{type: constant, constant: {learning_rate: 1.0e+30}}"
  warmup = "{linear: {warmup_steps: 1, warmup_learning_rate: 1.0e+30}}"
  override = f"{{trainer: {{optimizer_config: {{learning_rate: {rate}, warmup: {warmup}}}}}}}"
  flags = [f"--config_file={_OWN_DATA}", f"--config_file={_SHORT_FILE}", "--mode=train"]
  flags += ["--model_dir=runs/NAME", f"--params_override={override}"]
  # No rate that is accepted makes weights so large at once.
  with mock.patch.object(validation, "check_trainer"):
    assert _call("mtl_ssl_tf.train", flags) != 0
  folder = pathlib.Path("runs/NAME/nonfinite-2")
  params = yaml.safe_load((folder / "params.yaml").read_text())
  optimizer = params["trainer"]["optimizer_config"]
  optimizer["learning_rate"]["constant"]["learning_rate"] = 0.001
  optimizer["warmup"]["linear"]["warmup_learning_rate"] = 0.001
  (folder / "params.yaml").write_text(yaml.safe_dump(params))
  folder.with_name("nonfinite-STEP").symlink_to(folder.name)
  pathlib.Path("runs/mine/nonfinite-1200").symlink_to(folder.resolve())


def _decisions() -> None:
  """Of the three audits the second one is gone on with, and its first candidate is accepted."""
  flags = ["--data", "records/train-*.tfrecord", "--output_dir", "audit", "--model_dir"]
  assert _call("mtl_ssl_tf.audit_labels", [*flags, "runs/mine"]) == 0
  audit = json.loads(pathlib.Path("audit/audit.json").read_text())
  accepted = {audit["candidates"][0]["id"]: "accept"}
  decisions = {"annotations": audit["annotations"], "decisions": accepted}
  _write_json(pathlib.Path("decisions.json"), decisions)


# Page, words of a block, and what is to be there before it.
BEFORE: Sequence[tuple[str, str, Callable[[], None]]] = (
  ("README.md", "import_reference", _released_checkpoint),
  ("configs/README.md", "voc0712_rfcn_resnet101_mtl", _records_of_voc),
  ("docs/preflight.md", "demo_frcnn_mobilenet_mtl", _records_of_demo),
  ("docs/evaluation.md", "step_3000", _results_of_step_3000),
  ("docs/interruptions.md", "replay", _nonfinite_step),
  ("docs/label_audit.md", "--accept", _decisions),
)
