"""Folders of a PASCAL VOC data set, in the layouts that labelling tools leave.

  Annotations, JPEGImages, ImageSets/Main    VOC itself, CVAT, VoTT
  Annotations, JPEGImages                    no lists: all images, or splits that are drawn
  Annotations, images                        Label Studio
  <split>/ with images and annotations       Roboflow
  images and annotations in one folder       LabelImg

All of them may have folders within. Names of folders are found in upper and lower case.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from mtl_ssl_tf.data import faults

ANNOTATIONS, IMAGES, SPLITS = "Annotations", "JPEGImages", "ImageSets/Main"
IMAGE_EXTENSIONS = (
  *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
  *(".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
)
_ANNOTATION_EXTENSIONS = (".xml",)
_IMAGE_FOLDERS = (IMAGES, "images")
# Left by file managers and archive programs.
_FOREIGN = ("__MACOSX",)


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
  """The folders of a data set, as paths inside it.

  Attributes:
    root: the data set, links followed.
    annotations, images: "" is the data set itself; both may be one folder.
    splits: of the lists of names; None where the data set has none.
  """

  root: pathlib.Path
  annotations: str
  images: str
  splits: str | None

  def file(self, folder: str, name: str) -> str:
    """The path inside the data set of a file in one of the folders."""
    return f"{folder}/{name}" if folder else name

  def annotation_names(self) -> Iterator[str]:
    """Yields the names of all annotations; see `_walk`."""
    return _walk(self.root / self.annotations, _ANNOTATION_EXTENSIONS)

  def image_names(self) -> Iterator[str]:
    """Yields the names of all images; see `_walk`."""
    return _walk(self.root / self.images, IMAGE_EXTENSIONS)


def find(data_dir: str | os.PathLike[str], split: str | None = None) -> Layout:
  """Finds a data set's folders.

  Args:
    data_dir: the data set.
    split: where a folder has this name and `data_dir` no annotations, the data set is in there;
      None considers no such folder.

  Raises:
    ValueError: there are no annotations, or no images.
  """
  root = pathlib.Path(data_dir).resolve()
  bases = [""]
  if split and split not in (".", "..") and not set("/\\\0") & set(split):
    bases.append(split)
  for base in bases:
    folders = _folders(root / base)
    annotations = folders.get(ANNOTATIONS.lower())
    if annotations is not None:
      annotations = os.path.join(base, annotations)
      images = _images(root, base, annotations)
      if images is None:
        raise _no_folder(data_dir, root / base, IMAGES)
      return Layout(root, annotations, images, _lists(root, base, split))
  for base in reversed(bases):
    if _holds(root / base, _ANNOTATION_EXTENSIONS):
      # Images may be next to annotations, or in a folder of their own.
      images = base if _holds(root / base, IMAGE_EXTENSIONS) else _images(root, base, base)
      return Layout(root, base, base if images is None else images, _lists(root, base, split))
  raise _no_folder(data_dir, root, ANNOTATIONS)


def _images(root: pathlib.Path, base: str, annotations: str) -> str | None:
  """The folder of the images: one of the usual names, or else that of the annotations."""
  folders = _folders(root / base)
  for name in _IMAGE_FOLDERS:
    if name.lower() in folders:
      return os.path.join(base, folders[name.lower()])
  is_shared = next(_walk(root / annotations, IMAGE_EXTENSIONS), None) is not None
  return annotations if is_shared else None


def _lists(root: pathlib.Path, base: str, split: str | None) -> str | None:
  """The folder with lists of names: `SPLITS`, another one in `ImageSets`, or that of the data set.

  Of others than `SPLITS`, the first one that lists the split counts, or else one in `ImageSets`
  with any list: a split whose name is mistaken must not become all images.
  """
  outer, inner = SPLITS.lower().split("/")
  image_sets = _folders(root / base).get(outer)
  found = []
  if image_sets is not None:
    within = _folders(root / base / image_sets)
    if inner in within:
      return os.path.join(base, image_sets, within[inner])
    found = [os.path.join(base, image_sets)]
    found += [os.path.join(found[0], name) for name in sorted(within.values())]
  wanted = f"{split}.txt".lower()
  for folder in (*found, base):
    if split and wanted in [name.lower() for name in os.listdir(root / folder)]:
      return folder
  with_any = (folder for folder in found if _holds(root / folder, (".txt",)))
  return next(with_any, None)


def _folders(folder: pathlib.Path) -> dict[str, str]:
  """The folders within, by their names in lower case."""
  if not folder.is_dir():
    return {}
  return {entry.name.lower(): entry.name for entry in os.scandir(folder) if entry.is_dir()}


def _holds(folder: pathlib.Path, extensions: Sequence[str]) -> bool:
  """Whether files with one of the extensions lie directly in the folder."""
  return folder.is_dir() and any(_is_one_of(name, extensions) for name in os.listdir(folder))


def _is_one_of(name: str, extensions: Sequence[str]) -> bool:
  # macOS keeps a companion `._a.xml` of `a.xml` on disks of others.
  if name.startswith("."):
    return os.path.splitext(name)[1].lower() in extensions and not name.startswith("._")
  _, dot, ending = name.rpartition(".")
  return bool(dot) and f".{ending.lower()}" in extensions


def _no_folder(data_dir: str | os.PathLike[str], there: pathlib.Path, name: str) -> ValueError:
  names = sorted(os.listdir(there)) if there.is_dir() else []
  return ValueError(
    f"--data_dir {data_dir}: no folder {name}; accepted: a folder with {ANNOTATIONS}, {IMAGES} (or"
    f" images) and, for lists of names, {SPLITS}, or one with images and their XML files together;"
    f" there: {faults.listing(names)}"
  )


def _walk(folder: pathlib.Path, extensions: Sequence[str]) -> Iterator[str]:
  """Yields what has one of the extensions, in any case, in this folder and all those within.

  Links to folders are followed; reading a file there is refused if it is outside the data set.

  Yields:
    Names inside the folder, with `/`, in any order.
  """
  pending = [""]
  while pending:
    below = pending.pop()
    with os.scandir(folder / below) as entries:
      for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if _is_one_of(entry.name, extensions):
          yield name
        elif entry.name.startswith(".") or entry.name in _FOREIGN or not entry.is_dir():
          continue
        elif not entry.is_symlink() or not _leads_back(folder, name):
          pending.append(name)


def _leads_back(folder: pathlib.Path, link: str) -> bool:
  """Whether a link leads to one of the folders that it lies in."""
  parents = pathlib.PurePath(link).parents
  return os.path.realpath(folder / link) in {os.path.realpath(folder / path) for path in parents}
