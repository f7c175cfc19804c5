"""The way from annotations to a report, as the pages have it: their blocks, run one after another.

Each block is run as it is written, in a folder that has the names in it, on nine scenes of the
embedded data set, shortened where it would take long (`walk.py`). These are the README and the
pages that go on from the run that it leaves behind; `walk_pages_test.py` runs the others, and
`blocks_test.py` holds that no block is left out without saying so.
"""

import pytest

from tests.documentation import walk

BLOCKS = [block for page in walk.ON_A_RUN for block in walk.blocks(page)]
LEFT_BEHIND = (
  "runs/demo/curves.png",
  "runs/demo/predictions/predictions.json",
  "data/mine/manifest_train.json",
  "validation.html",
  "configs/mine.yaml",
  "runs/mine/best/info.json",
  "exported/mine/1/saved_model.pb",
  "runs/mine/report.html",
  "out/predictions.json",
  "out/coco_results.json",
  "out/figures.json",
  "runs/model12/import_report.txt",
  "exported/model12/1/saved_model.pb",
  "runs/bccd/evaluation/figures.json",
  "audit/audit.html",
  "corrected/manifest_corrected.json",
  "mine.html",
  "drawn.png",
  "page.html",
  "mine.tflite",
  "browse.html",
  "suggested.yaml",
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """The folder that all blocks are run in."""
  with walk.within(tmp_path_factory.mktemp("walk")) as folder:
    yield folder


@pytest.mark.walk
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(folder, block):
  walk.run(block)


@pytest.mark.walk
def test_what_is_left_behind(folder):
  assert [name for name in LEFT_BEHIND if not (folder / name).exists()] == []
