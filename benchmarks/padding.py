"""Share of padding with one input size and with two, from the sizes of the images alone.

    python -m benchmarks.padding [--records=data/bccd/trainval-*.tfrecord]

Without `--records`: 1000 sizes like those of photographs, 3:4 and 2:3, one in four in portrait. For
each data set and each short and long side, `single` is the smallest input that holds all images at
full size, `by_orientation` the smaller of its kind; a step's time goes with the input's pixels.
"""

import argparse

import numpy as np

from mtl_ssl_tf.data.pipeline import fitting, input_sizes
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import sizes as record_sizes

LIMITS = ((600, 1000), (480, 640), (800, 1333))


def photographs() -> np.ndarray:
  """int [1000, 2], heights and widths."""
  rng = np.random.default_rng(0)
  landscape = np.array([(375, 500), (480, 640), (333, 500), (427, 640)])
  sizes = landscape[rng.integers(0, len(landscape), 1000)]
  portrait = rng.random(1000) < 0.25
  return np.where(portrait[:, np.newaxis], sizes[:, ::-1], sizes)


def padding(
  image_sizes: np.ndarray, short_side: int, long_side: int
) -> dict[str, tuple[float, int]]:
  """For each layout, the share of pixels that are padding, and the pixels of an image."""
  landscape = (short_side, long_side)
  portrait = input_sizes.is_portrait(image_sizes)
  scaled = {}
  for size in np.unique(image_sizes, axis=0):
    input_size = landscape[::-1] if size[0] > size[1] else landscape
    scaled[tuple(size)] = fitting.fitted_size(np.float32(size), input_size, short_side, long_side)
  content = np.array([np.prod(scaled[tuple(size)]) for size in image_sizes])
  both = portrait.any() and not portrait.all()
  side = (long_side, long_side) if both else landscape
  pixels = {"single": np.prod(side), "by_orientation": short_side * long_side}
  return {kind: (1.0 - content.mean() / count, count) for kind, count in pixels.items()}


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--records", default="")
  flags = parser.parse_args()
  data = {"photographs": photographs()}
  if flags.records:
    index = record_index.scan(record_paths.match_files(flags.records))
    data[flags.records] = record_sizes.image_sizes(index)
  for name, sizes in data.items():
    portrait = input_sizes.is_portrait(sizes).mean()
    print(f"{name}: {len(sizes)} images, {portrait:.0%} in portrait")
    for short_side, long_side in LIMITS:
      found = padding(sizes, short_side, long_side)
      (one, one_pixels), (two, two_pixels) = found["single"], found["by_orientation"]
      print(
        f"  {short_side} x {long_side}: padding {one:.1%} of one size, {two:.1%} of two; pixels"
        f" a step {two_pixels / one_pixels:.2f} of the one size's"
      )


if __name__ == "__main__":
  main()
