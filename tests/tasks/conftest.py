"""Records and a task for all tests of this folder."""

import pytest

from mtl_ssl_tf.tasks import mtl_detection
from tests.tasks import tiny


@pytest.fixture(name="folder", scope="session")
def _folder(tmp_path_factory):
  """Folder with the records of `tiny.write_records`."""
  folder = tmp_path_factory.mktemp("tiny")
  tiny.write_records(folder)
  return folder


@pytest.fixture(name="task", scope="session")
def _task(folder):
  return mtl_detection.MtlDetectionTask(tiny.experiment(folder).task)
