"""Where the files of a PASCAL VOC data set are, and reading them without ever leaving it.

The layout is `Annotations/<name>.xml`, `JPEGImages/<name>.<extension>` and
`ImageSets/Main/<split>.txt`. Any of these folders may be a symbolic link: it is part of how the
data set was laid out. A single file must lie, links followed, in its folder or the data set.
"""

import os
import pathlib
from collections.abc import Sequence

from mtl_ssl_tf.data import faults

ANNOTATIONS, IMAGES, SPLITS = "Annotations", "JPEGImages", "ImageSets/Main"
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class VocFolder:
  """A data set's files by the names that its split files use."""

  def __init__(self, data_dir: str | os.PathLike[str]):
    """Lists the folders.

    Raises:
      ValueError: one of them does not exist.
    """
    self._root = pathlib.Path(data_dir).resolve()
    self._folders = {}
    for folder in (ANNOTATIONS, IMAGES, SPLITS):
      path = self._root / folder
      if not path.is_dir():
        raise ValueError(
          f"--data_dir {data_dir}: no folder {folder}; accepted: a folder with {ANNOTATIONS},"
          f" {IMAGES} and {SPLITS}; there: {faults.listing(_names(self._root))}"
        )
      self._folders[folder] = path.resolve()
    self._annotations = _by_stem(self._folders[ANNOTATIONS], (".xml",))
    self._images = _by_stem(self._folders[IMAGES], IMAGE_EXTENSIONS)

  def read(self, file: str) -> bytes:
    """The content of one file.

    Args:
      file: as `image_file`, `annotation_file` and `split_file` give it.

    Raises:
      faults.FaultError: it cannot be read, is no regular file or leads out of the data set.
    """
    folder, name = file.rsplit("/", 1)
    try:
      path = pathlib.Path(os.path.realpath(self._folders[folder] / name, strict=True))
      if not any(path.is_relative_to(root) for root in (self._root, self._folders[folder])):
        raise _fault(file, "a link that leads out of the data set", "a file inside the data set")
      if not path.is_file():  # Reading a pipe might never end.
        raise _fault(file, "neither a file nor a link to one", "a regular file")
      return path.read_bytes()
    except OSError as error:
      raise _fault(file, f"cannot be read ({error.strerror})", "a readable file") from error

  def split_file(self, split: str) -> str:
    """The file that lists a split's images.

    Raises:
      ValueError: there is none.
    """
    splits = _by_stem(self._folders[SPLITS], (".txt",))
    if split not in splits:
      raise ValueError(
        f"--split {split}: no file {SPLITS}/{split}.txt; accepted, as there are:"
        f" {faults.listing(sorted(splits))}"
      )
    return f"{SPLITS}/{splits[split][0]}"

  def parse_split(self, content: bytes, file: str) -> tuple[list[str], list[faults.Fault]]:
    """The names of a split's images, in order, and the faults of the lines that are left out.

    A line is a name, or a name and a flag as in VOC's files for single classes: 1 (holds the
    class), 0 (holds difficult objects of it only) or -1 (does not, and is left out). A name with
    a blank in it that has an annotation is a name.

    Raises:
      ValueError: the file is no UTF-8 text or names no image.
    """
    try:
      lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
      raise ValueError(f"{file}: not a UTF-8 text file ({error.reason})") from error
    first_lines, found = {}, []
    for number, line in enumerate(map(str.strip, lines), start=1):
      if line not in self._annotations:
        name, *flag = line.rsplit(maxsplit=1) or [""]
        if flag == ["-1"]:
          continue
        if flag in (["0"], ["1"]):
          line = name
      if not line:
        continue
      if "/" in line or "\\" in line or "\0" in line or line in (".", ".."):
        accepted = "the name of an image, without folders"
        found.append(faults.Fault(file, f"line {number}", faults.quote(line), accepted))
      elif line in first_lines:
        value = f"{faults.quote(line)} repeats line {first_lines[line]}"
        found.append(faults.Fault(file, f"line {number}", value, "each image once"))
      else:
        first_lines[line] = number
    if not first_lines and not found:
      raise ValueError(f"{file}: it names no image; accepted: the name of an image on each line")
    return list(first_lines), found

  def annotation_file(self, stem: str) -> str:
    """The annotation of an image.

    Raises:
      faults.FaultError: there is none.
    """
    names = self._annotations.get(stem, [])
    return _only(names, ANNOTATIONS, f"{stem}.xml", "one annotation for each image")

  def image_file(self, stem: str, filename: str | None) -> str:
    """The image with this name, whatever its extension.

    Args:
      stem: the name in the split file.
      filename: the name in the annotation, which decides between several, or where there is none.

    Raises:
      faults.FaultError: there is none, or there are several.
    """
    names = self._images.get(stem, [])
    named_in_annotation = filename is not None and filename in self._images.get(
      pathlib.PurePath(filename).stem, []
    )
    if named_in_annotation and (not names or filename in names):
      return f"{IMAGES}/{filename}"
    accepted = f"one image, with one of the extensions {', '.join(IMAGE_EXTENSIONS)}"
    return _only(names, IMAGES, f"{stem}.*", accepted)


def _only(names: Sequence[str], folder: str, pattern: str, accepted: str) -> str:
  """The one file there is."""
  if len(names) != 1:
    value = f"there are {', '.join(names)}" if names else "missing"
    raise _fault(f"{folder}/{pattern}", value, accepted)
  return f"{folder}/{names[0]}"


def _by_stem(folder: pathlib.Path, extensions: Sequence[str]) -> dict[str, list[str]]:
  """The names of a folder's files with one of the extensions, in any case, by their stems."""
  files = {}
  for name in _names(folder):
    stem, extension = os.path.splitext(name)
    if extension.lower() in extensions:
      files.setdefault(stem, []).append(name)
  return files


def _names(folder: pathlib.Path) -> list[str]:
  return sorted(os.listdir(folder)) if folder.is_dir() else []


def _fault(file: str, value: str, accepted: str) -> faults.FaultError:
  return faults.FaultError([faults.Fault(file, "file", value, accepted)])
