"""Data sets of the comparison: a VOC folder to records and COCO files that every arm is given.

While settings are being chosen, arms train on a part of the training images and are evaluated on
another; the test images are read with `--final` alone. Of BCCD these parts are the splits that come
with it, `train` and `val`; of the scenes another drawing; of any other folder a random part.

In the folder of a data set:

  voc/                the images, with the lists `train` and `test` of this comparison
  records/            TFRecords of both, label map and manifests
  train.json, test.json  COCO annotation files of both
"""

import dataclasses
import pathlib
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[2]
SPLITS = ("train", "test")
_LISTS = "ImageSets/Main"
# Of the demo's 600 images.
SCENES = 150
_CHOOSING_SEED, _FINAL_SEED = 1, 0


@dataclasses.dataclass(frozen=True)
class Source:
  """A VOC folder and which of its images are for what.

  Attributes:
    name: of the data set.
    folder: with Annotations, JPEGImages and ImageSets/Main; None is drawn.
    train: split to train on.
    test: split to evaluate on; None splits a part off `train`.
    validation_part: share of `train` that is split off.
    num_images: to train on; of a folder so many of the split in a random order, or None for all.
    drawing: seed of the drawing.
    context_percent: look-alikes whose neighbours tell their class.
  """

  name: str
  folder: pathlib.Path | None
  train: str
  test: str | None
  validation_part: float = 0.25
  num_images: int | None = None
  drawing: int = _FINAL_SEED
  context_percent: int = 100


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A data set that is ready for every arm; see the module for the files."""

  name: str
  folder: pathlib.Path

  @property
  def images(self) -> pathlib.Path:
    """Folder of the images of both splits."""
    return self.folder / "voc" / "JPEGImages"

  def coco(self, split: str) -> pathlib.Path:
    """Returns the COCO annotation file of a split."""
    return self.folder / f"{split}.json"

  def records(self, split: str) -> str:
    """Returns the pattern of a split's record files."""
    return str(self.folder / "records" / f"{split}-*.tfrecord")


def bccd(folder: pathlib.Path, final: bool, num_images: int | None = None) -> Source:
  """Returns BCCD, with its own splits, the one to train on whole or a random part of it."""
  train, test = ("trainval", "test") if final else ("train", "val")
  return Source("bccd", folder, train, test, num_images=num_images)


def scenes(num_images: int, final: bool, context_percent: int = 100) -> Source:
  """Returns the embedded scenes with so many images to train on."""
  seed = _FINAL_SEED if final else _CHOOSING_SEED
  name = "scenes" if context_percent == 100 else f"scenes-context-{context_percent}"
  return Source(
    name,
    None,
    "train",
    "val",
    num_images=num_images,
    drawing=seed,
    context_percent=context_percent,
  )


def voc(folder: pathlib.Path, train: str, test: str, final: bool, validation_part: float) -> Source:
  """Returns any VOC folder; `test` is read in the final comparison alone."""
  return Source(folder.name, folder, train, test if final else None, validation_part)


def prepare(source: Source, folder: pathlib.Path) -> DataSet:
  """Makes the files of a data set, unless they are there.

  Raises:
    ValueError: the folder or a split of it is missing, or an annotation cannot be converted.
  """
  result = DataSet(source.name, folder)
  if result.coco("test").exists():
    return result
  original = source.folder or _draw(source, folder / "drawn")
  stems = _read_lists(source, original)
  copy = folder / "voc"
  (copy / _LISTS).mkdir(parents=True, exist_ok=True)
  for name in ("Annotations", "JPEGImages"):
    link = copy / name
    link.unlink(missing_ok=True)
    link.symlink_to((original / name).resolve(), target_is_directory=True)
  shutil.rmtree(folder / "records", ignore_errors=True)
  for split in SPLITS:
    (copy / _LISTS / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems[split]))
    run_module(
      "mtl_ssl_tf.data.pascal_voc",
      f"--data_dir={copy}",
      f"--split={split}",
      f"--output_dir={folder / 'records'}",
      "--on_error=skip",
      "--num_shards=4",
    )
  _write_coco(result)
  return result


def _read_lists(source: Source, folder: pathlib.Path) -> dict[str, list[str]]:
  train = _read_list(folder, source.train)
  if source.test is not None:
    test = _read_list(folder, source.test)
  else:
    train, test = split_off(train, source.validation_part)
  if source.num_images is not None:
    train = first_of(train, source.num_images)
  common = sorted(set(train) & set(test))
  if common:
    raise ValueError(
      f"{source.name}: {len(common)} images are in both {source.train!r} and {source.test!r}, the"
      f" first is {common[0]!r}; accepted: splits without a common image"
    )
  return {"train": train, "test": test}


def _read_list(folder: pathlib.Path, split: str) -> list[str]:
  path = folder / _LISTS / f"{split}.txt"
  if not path.exists():
    found = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
    raise ValueError(f"split {split!r}: {path} is missing; accepted: one of {found}")
  return path.read_text().split()


def split_off(stems: Sequence[str], part: float) -> tuple[list[str], list[str]]:
  """Returns the stems without a random part, and the part; the same for the same stems."""
  ordered = sorted(stems)
  chosen = set(random.Random(0).sample(ordered, max(1, round(part * len(ordered)))))
  return [stem for stem in ordered if stem not in chosen], sorted(chosen)


def first_of(stems: Sequence[str], number: int) -> list[str]:
  """Returns so many of the stems in a random order, which a larger number only adds to.

  Raises:
    ValueError: there are fewer.
  """
  if number > len(stems):
    raise ValueError(f"{number} images to train on; accepted: up to the {len(stems)} of the split")
  ordered = sorted(stems)
  random.Random(0).shuffle(ordered)
  return sorted(ordered[:number])


def _draw(source: Source, folder: pathlib.Path) -> pathlib.Path:
  run_module(
    "mtl_ssl_tf.data.synthetic",
    f"--output_dir={folder}",
    f"--num_train={source.num_images}",
    f"--seed={source.drawing}",
    f"--context_percent={source.context_percent}",
  )
  return folder


def _write_coco(data: DataSet) -> None:
  """Writes what evaluation knows of the records, so that all arms have the same objects."""
  # TensorFlow takes a while to load, and most calls find the files.
  from mtl_ssl_tf.data.ground_truth import coco_truth, truth_readers

  for split in SPLITS:
    coco_truth.write_coco(truth_readers.read_records(data.records(split)), data.coco(split))


def run_module(module: str, *arguments: str) -> None:
  """Runs a command of the package.

  Raises:
    ValueError: it failed; the message is the last line that it printed.
  """
  process = subprocess.run(
    [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True
  )
  if process.returncode:
    lines = (process.stderr or process.stdout).strip().splitlines() or ["no message"]
    raise ValueError(f"{module} {' '.join(arguments)}: {lines[-1]}")
