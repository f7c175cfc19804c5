"""No reader of a file that a user names waits for a pipe."""

import os
import threading

import pytest

from mtl_ssl_tf.checkpoints import keras_weights, pretrained, reading, torch_files
from mtl_ssl_tf.command_line import flag_files
from mtl_ssl_tf.configs import yaml_files
from mtl_ssl_tf.data import label_map
from mtl_ssl_tf.data.composites import image_sources
from mtl_ssl_tf.data.ground_truth import detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import coco_index, coco_stream
from mtl_ssl_tf.prediction import coco_ids, input_files

_TRUTH = ground_truth.GroundTruth("truth", ("a",), (1,), ())


@pytest.fixture
def pipe(tmp_path):
  """Makes a pipe; whoever opens it for reading finds it empty, so that no test waits."""
  ended = threading.Event()
  threads = []

  def make(name):
    path = tmp_path / name
    os.mkfifo(path)

    def end_reading():
      while not ended.is_set():
        try:
          os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
          ended.wait(0.01)

    threads.append(threading.Thread(target=end_reading))
    threads[-1].start()
    return str(path)

  yield make
  ended.set()
  for thread in threads:
    thread.join()


def _input_list(path):
  folder = os.path.dirname(path)
  with open(os.path.join(folder, "a.jpg"), "w") as file:
    file.write("a")
  return input_files.find_inputs([folder], input_list=path)


_READERS = {
  "label map": ("label_map.txt", label_map.read_label_map),
  "settings": ("a.yaml", yaml_files.read),
  "flags": ("a.flags", lambda path: flag_files.check(["train", f"--flagfile={path}"])),
  "records": ("a.tfrecord", record_paths.match_files),
  "folder of records": (
    "a.tfrecord",
    lambda path: record_paths.match_files(os.path.dirname(path)),
  ),
  "pattern of records": ("a.tfrecord", lambda path: record_paths.match_files(f"{path[:-3]}*")),
  "record": ("a.tfrecord", record_index.open_file),
  "index of a COCO file": ("a.json", lambda path: coco_index.open_index(path, None)),
  "entries of a COCO file": ("a.json", lambda path: list(coco_stream.read_entries(path))),
  "ids of a COCO file": ("a.json", coco_ids.read_categories),
  "COCO ground truth": ("a.json", truth_readers.read),
  "COCO results": (
    "a.json",
    lambda path: detection_files.read_predictions(path, _TRUTH, "ground_truth"),
  ),
  "VOC results": (
    "comp4_det_test_a.txt",
    lambda path: detection_files.read_predictions(path, _TRUTH),
  ),
  "list of inputs": ("list.txt", _input_list),
  "images of a folder": (
    "a.jpg",
    lambda path: image_sources.FolderImages(os.path.dirname(path)).read(0),
  ),
  "checkpoint": ("a.index", lambda path: reading.find(path, "--init")),
  "newest checkpoint": (
    "checkpoint",
    lambda path: reading.find(os.path.dirname(path), "--init"),
  ),
  "PyTorch weights": ("a.pth", torch_files.read_state_dict),
  "Keras weights": ("a.h5", lambda path: pretrained.check_source(path, "--init")),
  "Keras weights that were not checked": (
    "a.h5",
    lambda path: keras_weights._read(None, path, "--init"),
  ),
}


@pytest.mark.parametrize("name", _READERS)
def test_a_pipe_is_refused(pipe, name):
  file, read = _READERS[name]
  path = pipe(file)
  with pytest.raises((ValueError, OSError), match="a pipe and no regular file"):
    read(path)


def test_a_pipe_that_a_file_of_flags_names_is_refused(pipe, tmp_path):
  (tmp_path / "a.flags").write_text(f"# A comment.\n--flagfile={pipe('b.flags')}\n")
  with pytest.raises(ValueError, match=r"b\.flags' cannot be read"):
    flag_files.check(["train", f"--flagfile={tmp_path}/a.flags"])
