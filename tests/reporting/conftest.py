"""Two runs that were made up, and what is found of them."""

import pytest


@pytest.fixture(name="sources", scope="session")
def _sources(tmp_path_factory):
  """Detections of two runs in the same images, of which the first is better."""
  from tests.reporting import made_up  # Here, as most tests need no TensorFlow.

  folder = tmp_path_factory.mktemp("made_up")
  made_up.write_records(folder)
  return [
    made_up.write_run(folder, name, seed, shift_px)
    for name, seed, shift_px in (("first", 1, 1.0), ("other", 2, 4.0))
  ]


@pytest.fixture(name="found", scope="session")
def _found(sources):
  """What is found of both."""
  from mtl_ssl_tf.reporting import findings

  return [findings.collect(source) for source in sources]


@pytest.fixture(name="page", scope="session")
def _page(found, tmp_path_factory):
  """The page about both."""
  from mtl_ssl_tf.reporting import page, pairs
  from tests.reporting import made_up

  output = tmp_path_factory.mktemp("page") / "report.html"
  page.write(output, found[0], pairs.compare(*found), 4, {"command": made_up.EVIL})
  return output
