"""Images as they lie in a folder or in record files, for `image_store`."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import image_folder, safe_files
from mtl_ssl_tf.reading import quoting, regular_files


class ImageSource(Protocol):
  """Images that can be read by number, from any thread.

  Attributes:
    name: a short name, fit for a file.
    location: what messages call it.
    passed_over: kinds of files that are no images, and how many of each.
  """

  name: str
  location: str
  passed_over: Mapping[str, int]

  def __len__(self) -> int:
    """The number of images, broken ones included."""

  def signature(self) -> str:
    """Returns a text that differs if images are added, removed or changed, without reading them."""

  def read(self, number: int) -> tuple[str, bytes]:
    """The name and the content of an image file; raises `faults.FaultError` if it is not there."""


class FolderImages:
  """The image files of a folder and of the folders inside it, in the order of their paths."""

  def __init__(self, image_dir: str):
    """Lists the files.

    Raises:
      ValueError: there is no such folder, or no image in it.
    """
    self._folder = pathlib.Path(os.path.abspath(image_dir))
    if not self._folder.is_dir():
      raise ValueError(f"image_dir is {quoting.shown(image_dir)}; accepted: a folder that exists")
    self.name, self.location = self._folder.name or "root", str(self._folder)
    passed_over: collections.Counter[str] = collections.Counter()
    self._names = []
    for name in image_folder.visible_files(self._folder):
      if name.lower().endswith(image_folder.SUFFIXES):
        self._names.append(name)
      else:
        passed_over[os.path.splitext(name)[1].lower() or "without ending"] += 1
    self.passed_over = dict(passed_over.most_common())
    if not self._names:
      raise ValueError(
        f"image_dir is {quoting.shown(image_dir)}, which holds no image; accepted: a folder with"
        f" files that end in {', '.join(image_folder.SUFFIXES)}"
      )

  def __len__(self) -> int:
    return len(self._names)

  def signature(self) -> str:
    """See `ImageSource`: names, sizes and times."""
    states = []
    for name in self._names:
      try:
        status = os.stat(self._folder / name)
        states.append((name, status.st_size, status.st_mtime_ns))
      except OSError as error:  # A link to nowhere, for one.
        states.append((name, error.errno))
    return repr(states)

  def read(self, number: int) -> tuple[str, bytes]:
    """See `ImageSource`."""
    name = self._names[number]
    try:
      return name, regular_files.read_bytes(self._folder / name, safe_files.MAX_BYTES)
    except OSError as error:
      raise safe_files.fault(
        name, f"cannot be read ({error.strerror})", "a readable file"
      ) from error


class RecordImages:
  """The images of record files, in their order."""

  passed_over: Mapping[str, int] = {}

  def __init__(self, input_path: str | Sequence[str]):
    """Finds the records.

    Raises:
      ValueError: no file matches, or one is no TFRecord file or is cut short.
    """
    self._files = record_paths.match_files(input_path)
    self._index = record_index.scan(self._files)
    self.name = record_paths.split_name(self._files[0])
    self.location = os.path.join(os.path.dirname(self._files[0]), self.name)

  def __len__(self) -> int:
    return len(self._index)

  def signature(self) -> str:
    """See `ImageSource`: paths, sizes and times of the files."""
    return repr([(os.path.abspath(f), record_index.file_version(f)) for f in self._files])

  def read(self, number: int) -> tuple[str, bytes]:
    """See `ImageSource`; the name is the image's identifier in its data set."""
    file_number = self._index.file_numbers[number]
    try:
      content = self._index.read(tf.constant(number, tf.int64)).numpy()
      feature = tf.train.Example.FromString(content).features.feature
      (encoded,) = feature[schema.IMAGE_ENCODED].bytes_list.value
      (source_id,) = feature[schema.IMAGE_SOURCE_ID].bytes_list.value
    except Exception as error:  # Reading damaged bytes may raise nearly anything.
      value = f"cannot be read ({type(error).__name__})"
      accepted = f"a record with {schema.IMAGE_ENCODED} and {schema.IMAGE_SOURCE_ID}"
      file = os.path.basename(self._files[file_number])
      where = f"record {number - np.searchsorted(self._index.file_numbers, file_number)}"
      raise faults.FaultError([faults.Fault(file, where, value, accepted)]) from error
    return os.fsdecode(source_id), encoded
