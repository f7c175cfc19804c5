"""Measures features by their nearest neighbours: does an object lie among those of its class?

    probe = KnnProbe(num_neighbours=5)
    probe.update(image=7, features=..., classes=...)      for each image
    probe.result()

Nothing is trained. Each object is given the class that most of the objects nearest to it have,
those of its own image left out, which may show the same thing twice.
"""

import numpy as np

ACCURACY = "probe/accuracy"
OBJECT_ACCURACY = "probe/object_accuracy"
CHANCE = "probe/chance"
SPREAD = "probe/spread"
NUM_OBJECTS = "probe/objects"
NUM_CLASSES = "probe/classes"
# Objects that are compared with all others at once.
_CHUNK_SIZE = 1024


class KnnProbe:
  """Collects features of annotated objects and tells how well their neighbours give their class."""

  def __init__(self, num_neighbours: int):
    """Starts empty; `num_neighbours` objects vote."""
    self._num_neighbours = num_neighbours
    self.reset()

  def reset(self) -> None:
    """Forgets all objects."""
    self._features: list[np.ndarray] = []
    self._classes: list[np.ndarray] = []
    self._images: list[np.ndarray] = []

  def update(self, image: int, features: np.ndarray, classes: np.ndarray) -> None:
    """Adds the objects of an image.

    Args:
      image: any number of its own.
      features: float [n, depth].
      classes: int [n], from 1 on.
    """
    self._features.append(np.asarray(features, np.float32))
    self._classes.append(np.asarray(classes, np.int64))
    self._images.append(np.full(len(classes), image, np.int64))

  def result(self) -> dict[str, float]:
    """Returns the figures, percentages but for numbers and the spread.

    `probe/accuracy` is the mean over classes, and `probe/object_accuracy` over objects;
    `probe/chance` is what guessing gets of the first. `probe/spread` is the standard deviation of
    the features over objects, as a share of their length: 0 where the network has collapsed.
    Accuracies are NaN where no object has one of another image to be compared with.
    """
    if not any(len(each) for each in self._classes):
      return dict.fromkeys((ACCURACY, OBJECT_ACCURACY, CHANCE, SPREAD), float("nan")) | {
        NUM_OBJECTS: 0.0,
        NUM_CLASSES: 0.0,
      }
    features, classes, images = map(np.concatenate, (self._features, self._classes, self._images))
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features = features / np.maximum(lengths, 1e-12)
    names, places = np.unique(classes, return_inverse=True)
    predicted = _vote(features, places, images, len(names), self._num_neighbours)
    is_counted = predicted >= 0
    is_right = predicted == places
    by_class = [
      np.mean(is_right[is_counted & (places == place)])
      for place in range(len(names))
      if np.any(is_counted & (places == place))
    ]
    return {
      ACCURACY: 100.0 * float(np.mean(by_class)) if by_class else float("nan"),
      OBJECT_ACCURACY: 100.0 * float(np.mean(is_right[is_counted])) if by_class else float("nan"),
      CHANCE: 100.0 / len(names),
      SPREAD: float(np.sqrt(np.sum(np.var(features, axis=0)))),
      NUM_OBJECTS: float(len(classes)),
      NUM_CLASSES: float(len(names)),
    }


def _vote(
  features: np.ndarray, classes: np.ndarray, images: np.ndarray, num_classes: int, num_voters: int
) -> np.ndarray:
  """The class of each object by its neighbours, int [n]; -1 where there is none to compare with.

  A neighbour's vote weighs its cosine plus 1, so that of two classes with as many neighbours the
  nearer one wins.
  """
  predicted = np.full(len(classes), -1, np.int64)
  for start in range(0, len(classes), _CHUNK_SIZE):
    rows = slice(start, start + _CHUNK_SIZE)
    similarities = features[rows] @ features.T  # [chunk, n]
    similarities[images[rows, np.newaxis] == images] = -np.inf
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :num_voters]  # [chunk, k]
    weights = 1.0 + np.take_along_axis(similarities, nearest, axis=1)  # [chunk, k]
    votes = np.zeros([len(nearest), num_classes])
    for place in range(nearest.shape[1]):
      others = weights[:, place] > -np.inf
      np.add.at(
        votes, (np.flatnonzero(others), classes[nearest[others, place]]), weights[others, place]
      )
    has_voters = np.isfinite(weights[:, :1]).any(axis=1)
    predicted[rows] = np.where(has_voters, np.argmax(votes, axis=1), -1)
  return predicted
