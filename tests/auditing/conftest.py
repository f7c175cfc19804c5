"""The page of an audit that was made up."""

import pytest


@pytest.fixture(name="page", scope="session")
def _page(tmp_path_factory):
  """Page of an audit of records with names that do harm."""
  from mtl_ssl_tf import audit_labels
  from tests.auditing import made_up

  folder = tmp_path_factory.mktemp("page")
  made_up.write(folder)
  flags = [f"--data={folder / 'train.tfrecord'}", f"--predictions={folder / 'results.json'}"]
  assert audit_labels.main([*flags, f"--output_dir={folder / 'audit'}", "--num_shown=12"]) == 0
  return folder / "audit" / "audit.html"
