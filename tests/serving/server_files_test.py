"""Tests of server_files.py."""

import os

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from mtl_ssl_tf.serving import server_files


def test_the_server_finds_the_versions(tmp_path):
  server_files.write_missing(str(tmp_path), "cells", None)
  assert sorted(os.listdir(tmp_path)) == ["batching_parameters.txt", "models.config"]
  config = text_format.Parse(
    (tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
  )
  (model,) = config.model_config_list.config
  assert (model.name, model.base_path) == ("cells", "/models/cells")
  assert model.model_platform == "tensorflow"


def test_batches(tmp_path):
  for name, batch_size, expected in (("any", None, 8), ("one", 3, 3)):
    (tmp_path / name).mkdir()
    server_files.write_missing(str(tmp_path / name), "cells", batch_size)
    text = (tmp_path / name / "batching_parameters.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert f"max_batch_size {{ value: {expected} }}" in lines
    assert ("allowed_batch_sizes: 3" in lines) == (batch_size == 3)


def test_what_is_there_stays(tmp_path):
  (tmp_path / "models.config").write_text("mine")
  server_files.write_missing(str(tmp_path), "cells", None)
  assert (tmp_path / "models.config").read_text() == "mine"
