"""The pages that begin from annotations: their blocks, run in turn; see `walk_test.py`."""

import pytest

from tests.documentation import walk

BLOCKS = [block for page in walk.others() for block in walk.blocks(page)]
LEFT_BEHIND = (
  "data/voc12/manifest_trainval.json",
  "data/coco17/manifest_train_hard.json",
  "data/coco17/manifest_test-dev.json",
  "runs/voc0712_rfcn_resnet101_mtl/best/info.json",
  "runs/model42/best/info.json",
  "runs/comparison/comparison.html",
  "runs/ablation/comparison.html",
  "runs/xla/best/info.json",
  "runs/bfloat16/best/info.json",
  "cost.json",
  "runs/my_network/checkpoint",
  "docs/configuration.md",
  "exported/step/step.mlir",
  "composites.png",
  "runs/insloc/best/info.json",
  "records/manifest_trainval_hard.json",
  "runs/hard/best/info.json",
  "runs/lite0/best/info.json",
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  """The folder that all blocks are run in, with the records that the README makes."""
  with walk.within(tmp_path_factory.mktemp("walk_pages")) as folder:
    walk.run(walk.blocks(*walk.CONVERSION)[0])
    yield folder


@pytest.mark.walk
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(folder, block):
  walk.run(block)


@pytest.mark.walk
def test_what_is_left_behind(folder):
  assert [name for name in LEFT_BEHIND if not (folder / name).exists()] == []
