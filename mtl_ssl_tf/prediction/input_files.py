"""Finds the image and video files of a prediction."""

import collections
import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mtl_ssl_tf.data.sources import image_folder
from mtl_ssl_tf.reading import regular_files

SUFFIXES = image_folder.SUFFIXES
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
_ACCEPTED = ", ".join((*SUFFIXES, *VIDEO_SUFFIXES))


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
  """The files of a prediction.

  Attributes:
    folder: the deepest one that holds them all: the input folder itself, or where a file lies.
    names: of the files, inside the folder, with `/` between its parts; each once.
    passed_over: number of other files in the folders that were searched, by their ending.
    unreadable: folders among these that cannot be read, and the reasons.
  """

  folder: pathlib.Path
  names: tuple[str, ...]
  passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict, compare=False)
  unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)


def is_video(name: str) -> bool:
  """Whether a file of this name counts as a video; every other counts as an image."""
  return name.lower().endswith(VIDEO_SUFFIXES)


def find_inputs(
  sources: Sequence[str],
  result_folders: Iterable[pathlib.Path] = (),
  input_list: str | None = None,
) -> Inputs:
  """Returns the files that the sources name, sorted in each source, or in the list's order.

  Args:
    sources: files, folders (searched with the folders inside them) and patterns with `*`, `?`,
      `[...]` and `**`. A file that is named may be called anything; of folders and patterns,
      files with the endings of images and videos are taken.
    result_folders: folders of drawn images and videos, which are left out.
    input_list: text file with one name a line, with or without ending, to choose from all.

  Raises:
    ValueError: no file is found, or a name in the list is not among the files.
  """
  hidden = [_resolved(folder) for folder in result_folders]
  roots, paths = [], []
  passed_over: collections.Counter[str] = collections.Counter()
  unreadable: dict[str, str] = {}
  for source in sources:
    root, found = _files_of(source, hidden, passed_over, unreadable)
    roots.append(root)
    paths += found
  folder = os.path.commonpath(roots)
  names = [pathlib.Path(os.path.relpath(path, folder)).as_posix() for path in paths]
  names = list(dict.fromkeys(names))
  if input_list:
    if len(sources) == 1 and os.path.isfile(sources[0]):
      raise ValueError(f"--input {sources[0]!r} is a file; accepted: a folder, with --input_list")
    names = _chosen(names, input_list)
  return Inputs(pathlib.Path(folder), tuple(names), dict(passed_over.most_common()), unreadable)


def _files_of(
  source: str,
  hidden: Sequence[pathlib.Path],
  passed_over: collections.Counter[str],
  unreadable: dict[str, str],
) -> tuple[str, list[str]]:
  """Returns the folder that names are relative to, and the files, as absolute paths."""
  # Not resolved: a link keeps the name that the user knows it by.
  path = os.path.abspath(source)
  if os.path.isdir(path):
    _check_visible(source, path, hidden)
    walked = _walk(path, hidden, passed_over, unreadable)
    found = sorted(walked, key=lambda file: pathlib.Path(file).as_posix())
    if path in unreadable:
      raise ValueError(f"--input {source!r} cannot be read ({unreadable[path]})")
    if not found:
      raise ValueError(f"--input {source!r} holds no image or video; accepted: {_ACCEPTED}")
    return path, found
  if os.path.lexists(path):  # A link to nowhere is reported with the unreadable files.
    _check_visible(source, path, hidden)
    return os.path.dirname(path), [path]
  if not glob.has_magic(source):
    raise ValueError(f"--input {source!r} does not exist; accepted: files, folders and patterns")
  matches = sorted(glob.glob(path, recursive=True))
  found = [file for file in matches if _is_input(file) and not _is_hidden(file, hidden)]
  if not found:
    raise ValueError(f"--input {source!r} matches no image or video; accepted: {_ACCEPTED}")
  parts = pathlib.Path(path).parts
  first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
  return os.path.join(*parts[:first]), found


def _walk(
  folder: str,
  hidden: Sequence[pathlib.Path],
  passed_over: collections.Counter[str],
  unreadable: dict[str, str],
) -> Iterator[str]:
  def note(error: OSError) -> None:
    unreadable[str(error.filename)] = error.strerror or str(error)

  for parent, folders, files in os.walk(folder, onerror=note):
    folders[:] = [name for name in folders if _resolved(os.path.join(parent, name)) not in hidden]
    for name in files:
      if _has_suffix(name):
        yield os.path.join(parent, name)
      else:
        passed_over[os.path.splitext(name)[1].lower() or name] += 1


def _has_suffix(name: str) -> bool:
  return name.lower().endswith((*SUFFIXES, *VIDEO_SUFFIXES)) and not name.startswith(".")


def _is_input(path: str) -> bool:
  return _has_suffix(os.path.basename(path)) and not os.path.isdir(path)


def _is_hidden(path: str, hidden: Sequence[pathlib.Path]) -> bool:
  resolved = _resolved(path)
  return any(resolved.is_relative_to(folder) for folder in hidden)


def _resolved(path: str | os.PathLike[str]) -> pathlib.Path:
  # Not `pathlib`'s, which fails at a link to itself.
  return pathlib.Path(os.path.realpath(path))


def _check_visible(source: str, path: str, hidden: Sequence[pathlib.Path]) -> None:
  if _is_hidden(path, hidden):
    folder = next(str(f) for f in hidden if _resolved(path).is_relative_to(f))
    raise ValueError(f"--input {source!r} lies in {folder!r}; accepted: files outside the results")


def _chosen(names: Sequence[str], input_list: str) -> list[str]:
  """Returns those of `names` that a file lists, with or without ending."""
  try:
    lines = regular_files.read_text(input_list).split("\n")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"--input_list {input_list!r} cannot be read ({error})") from error
  wanted = [line.strip() for line in lines if line.strip()]
  known = {os.path.splitext(name)[0]: name for name in reversed(names)}
  known.update((name, name) for name in names)
  missing = [name for name in wanted if name not in known]
  if missing:
    raise ValueError(
      f"--input_list {input_list!r}: {missing[0]!r} is not in --input"
      f" (missing: {len(missing)} of {len(wanted)}); accepted: names of its images and videos"
    )
  if not wanted:
    raise ValueError(f"--input_list {input_list!r} is empty; accepted: one name a line")
  return list(dict.fromkeys(known[name] for name in wanted))
