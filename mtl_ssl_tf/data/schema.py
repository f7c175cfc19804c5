"""Names of the files of a converted data set and of the features in its records.

A record is a tf.Example with one image and its objects; Model Garden's `TfExampleDecoder` reads it.
Boxes are fractions of the image: pixel coordinates divided by width or height, nothing subtracted.
Lists of an image's objects run in parallel; all are empty for an image without objects.
"""

import re

IMAGE_ENCODED = "image/encoded"  # bytes: JPEG or PNG; RGB, 8 bits, upright
IMAGE_FORMAT = "image/format"  # bytes: b"jpeg" or b"png"
IMAGE_HEIGHT = "image/height"  # int64
IMAGE_WIDTH = "image/width"  # int64
IMAGE_FILENAME = "image/filename"  # bytes: the source image's name, without folders
IMAGE_SOURCE_ID = "image/source_id"  # bytes: the name that the split file knows the image by
IMAGE_SHA256 = "image/key/sha256"  # bytes: hexadecimal digest of `image/encoded`
OBJECT_YMIN = "image/object/bbox/ymin"  # float
OBJECT_XMIN = "image/object/bbox/xmin"  # float
OBJECT_YMAX = "image/object/bbox/ymax"  # float
OBJECT_XMAX = "image/object/bbox/xmax"  # float
OBJECT_LABEL = "image/object/class/label"  # int64: line of the label map, counted from 1
OBJECT_TEXT = "image/object/class/text"  # bytes: the class name
OBJECT_DIFFICULT = "image/object/difficult"  # int64: 0 or 1
OBJECT_TRUNCATED = "image/object/truncated"  # int64: 0 or 1
OBJECT_IS_CROWD = "image/object/is_crowd"  # int64: 0 or 1
OBJECT_AREA = "image/object/area"  # float: square pixels of the image
OBJECT_ID = "image/object/id"  # int64: COCO's annotation id; in VOC the place in the file, from 0
# The classes whose objects are all annotated in the image: of any other class it may show objects
# without a box. Absent where all classes are annotated, and never empty.
ANNOTATED_CLASSES = "image/annotated_classes"  # int64: as `OBJECT_LABEL`, ascending
ANNOTATED_CLASSES_TEXT = "image/annotated_classes/text"  # bytes: their names
# Every list of an image's objects is called so.
OBJECT_PREFIX = "image/object/"
# Of a sparsely annotated split, the same lists of the objects whose annotations were erased, e.g.
# image/object_erased/bbox/ymin. For measuring what a detector finds by itself: `DetectionDecoder`
# does not read them, and what does (`decoder.erased_objects`) never reaches a loss.
ERASED_PREFIX = "image/object_erased/"
ERASED_BOX = tuple(f"{ERASED_PREFIX}bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))
ERASED_LABEL = f"{ERASED_PREFIX}class/label"

# Places of objects whose annotations cannot be used, as fractions of the image; only
# in records that have such. In training they are regions to be ignored, of no class.
IGNORED_YMIN = "image/ignored/bbox/ymin"  # float
IGNORED_XMIN = "image/ignored/bbox/xmin"  # float
IGNORED_YMAX = "image/ignored/bbox/ymax"  # float
IGNORED_XMAX = "image/ignored/bbox/xmax"  # float
IGNORED_BOX = (IGNORED_YMIN, IGNORED_XMIN, IGNORED_YMAX, IGNORED_XMAX)

LABEL_MAP_FILE = "label_map.txt"


def manifest_file(split: str) -> str:
  """Name of the file that says what a split holds; it exists only where the split is complete."""
  return f"manifest_{split}.json"


def pictures_file(split: str) -> str:
  """Name of the file that lists a split's pictures by content; see `records/pictures.py`."""
  return f"pictures_{split}.tsv"


def shard_file(split: str, index: int, num_shards: int) -> str:
  """Name of one of a split's record files, numbered from 0."""
  return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"


def is_shard_file(name: str, split: str) -> bool:
  """Whether a file is called like one of a split's record files, of however many."""
  return re.fullmatch(re.escape(split) + r"-\d{5}-of-\d{5}\.tfrecord", name) is not None
