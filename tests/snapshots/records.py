"""Records with everything that annotations can say, in images of several sizes."""

import pathlib

import numpy as np

from tests import fixtures

CLASS_NAMES = ["cat", "dog", "cow"]
# Height, width, boxes, classes, difficult, crowd.
_TRAIN = (
  (48, 64, [[0, 0, 48, 28], [12, 8, 36, 24], [30, 30, 46, 60]], [1, 2, 3], [0, 0, 1], [0, 0, 0]),
  (64, 48, [[4, 4, 40, 30], [20, 20, 60, 44], [2, 30, 20, 46]], [2, 2, 1], [0, 1, 0], [0, 0, 1]),
  (40, 40, [], [], [], []),
  (
    60,
    30,
    [[2, 2, 30, 20], [10, 6, 28, 18], [32, 4, 58, 28], [5, 15, 25, 29], [40, 2, 50, 12]],
    [3, 1, 2, 1, 3],
    [0] * 5,
    [0] * 5,
  ),
  (48, 60, [[8, 8, 40, 40]], [3], [0], [0]),
)
_VAL = (
  (48, 64, [[8, 8, 40, 40], [0, 30, 30, 64]], [1, 2], [0, 0], [0, 0]),
  (64, 50, [[10, 10, 50, 40], [20, 4, 60, 30], [0, 0, 16, 16]], [3, 2, 1], [0, 1, 0], [0, 0, 1]),
  (30, 60, [[4, 4, 28, 30]], [2], [0], [0]),
)


def write(folder: pathlib.Path) -> None:
  """Writes `train.tfrecord`, `val.tfrecord` and the label map."""
  for split, images in (("train", _TRAIN), ("val", _VAL)):
    examples = [
      fixtures.serialized_example(
        _picture(height, width, boxes, seed=number + len(split)),
        boxes,
        classes,
        difficult,
        crowd,
        source_id=f"{split}{number}",
      )
      for number, (height, width, boxes, classes, difficult, crowd) in enumerate(images)
    ]
    fixtures.write_records(folder / f"{split}.tfrecord", examples)
  (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))


def _picture(height: int, width: int, boxes: list[list[int]], seed: int) -> np.ndarray:
  """uint8 [height, width, 3]: a coloured block for each object, in noise."""
  picture = fixtures.noise_image(height, width, seed) // 4
  for number, (ymin, xmin, ymax, xmax) in enumerate(boxes):
    picture[ymin:ymax, xmin:xmax, number % 3] += 60 + 20 * (number % 4)
  return picture
