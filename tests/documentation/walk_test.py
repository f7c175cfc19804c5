"""The way from annotations to a report, as the pages have it: their blocks, run one after another.

Each block is run as it is written, in a folder that has the names in it (`walk.make_folder`), on
nine scenes of the embedded data set. Only the training is shortened, to two steps of a small
detector (`walk.SHORT`). `blocks_test.py` says what becomes of the blocks that are not run here.
"""

import contextlib

import pytest

from tests.documentation import walk

BLOCKS = list(dict.fromkeys(block for section in walk.SECTIONS for block in walk.blocks(*section)))
# Of each of the five steps, and of pages that go on from there.
LEFT_BEHIND = (
  "data/mine/manifest_train.json",
  "validation.html",
  "configs/mine.yaml",
  "runs/mine/best/info.json",
  "exported/mine/1/saved_model.pb",
  "runs/mine/report.html",
  "out/predictions.json",
  "out/coco_results.json",
  "out/figures.json",
  "mine.html",
  "drawn.png",
  "browse.html",
  "records/manifest_trainval_hard.json",
  "data/voc12/manifest_trainval.json",
  "data/coco17/manifest_val.json",
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """The folder that all blocks are run in."""
  folder = tmp_path_factory.mktemp("walk")
  walk.make_folder(folder)
  with contextlib.chdir(folder):
    yield folder


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(folder, block):
  walk.run(block)


@pytest.mark.slow
def test_what_is_left_behind(folder):
  assert [name for name in LEFT_BEHIND if not (folder / name).exists()] == []
