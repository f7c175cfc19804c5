"""One record to one example of static shape: augment, resize, pad, ground truth.

N is `max_num_boxes`; H and W are the height and width of the network input, `input_size`.
The image lies in the input's top left corner at one scale for both sides; the rest is zero.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.data.pipeline import (
  annotated_image,
  augmentations,
  composition,
  decoder,
  fitting,
  object_selection,
)
from mtl_ssl_tf.ops import box_ops, color_ops

_NUM_IMAGE_KEYS = 2**31 - 1
# Fields of `Data` that the parser goes by, and whose values it checks one by one.
_CHECKED = (
  "short_side",
  "long_side",
  "max_num_boxes",
  "flip_probability",
  "vertical_flip_probability",
  "scale_crop",
  "difficult",
  "crowd",
)


class DetectionParser:
  """Records to `(image, labels)`, the batch's rows of `reader.make_dataset`.

  The image is resized, bilinear, so that its short side is `short_side` unless that makes its long
  side longer than `long_side` or does not fit into the input; nothing is cut off. In training it
  is mirrored at random, from left to right and, where asked, from top to bottom; with `scale_min`,
  `scale_max` other than 1 it is zoomed at random: resized again by a factor from that range and cut
  to what it would be without, or with `scale_crop: input` to the whole input; boxes left with less
  than half their area are dropped.

  Further changes in training, each where `augmentation` asks for it: before all others, the image
  becomes part of a mosaic, objects of another one are pasted into it, and it is turned by right
  angles; after all others, its colours change. "The file" below is then what has been composed: a
  mosaic's pixels, or the image's with the pasted objects where they lie there.

  In training, objects marked difficult and crowds (one box around many) are each kept as ordinary
  objects (`keep`), left out (`drop`), or made regions to be ignored (`ignore`): what lies there is
  neither object nor background in the loss. Such a region has class 0, comes after the objects, so
  that it never takes the row of one, and is kept as long as any of it is visible. Of an object
  that is both, the stricter counts. Evaluation keeps all as objects.

  `image` is float32 [H, W, 3], RGB 0 … 255. `labels` holds:
    gt_boxes_px: float32 [N, 4], pixels of the padded input; padding is -1.
    gt_classes: int32 [N], 1 … C-1, or 0 for a region to be ignored; padding is -1.
    gt_difficult: bool [N], PASCAL VOC's flag.
    gt_boxes_orig: float32 [N, 4], the same objects in pixels of the file, neither turned, mirrored
      nor cut; padding is -1.
    gt_is_crowd: bool [N], COCO's flag of a box around many objects.
    gt_area_orig: float32 [N], area in square pixels of the file as the record states it, which of a
      mask is less than of its box; padding is 0.
    image_size_px: float32 [2], height and width of the image inside the input.
    image_info: float32 [4, 2], original size, size inside the input, scale, offset, where the
      scale times file pixels less the offset gives input pixels (of an image neither turned nor
      mirrored). The original size is that after a turn.
    num_dropped_boxes: int32, objects and regions left out because all N rows were taken.
    flipped: bool, the image was mirrored left to right, after any turn.
    image_key: int32, a number made from the source id; stays with the image in every epoch,
      whatever else is composed with it.
    example_valid: bool, False for a row that only fills up the last batch.
    annotated_classes: only where asked for: float32 [C], 1 for each class, the background among
      them, whose objects are all annotated in the image: of an image that was composed, in all
      parts that are left of it.
    annotated_parts_px, annotated_parts: beside it, where images are composed in training: float32
      [P, 4], the parts in pixels of the padded input, padding is -1, and float32 [P, C], the same
      mask for each of them. A later part may lie on an earlier one.
    erased_boxes_px, erased_classes: only where asked for, in training: the objects whose
      annotations were erased on purpose, as `gt_boxes_px` and `gt_classes` would have them. For
      measuring alone.

  To add a change of your own, see the two comments in `__call__`; draw its seed in `_Seeds`.

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, implementation
  details: short side 600, horizontal flips only. The rest is ours, for training from scratch.
  """

  def __init__(
    self,
    data: data_config.Data,
    input_size: Sequence[int] | None = None,
    is_training: bool = False,
    with_erased: bool = False,
    num_classes: int | None = None,
  ):
    """Checks the settings; later changes to `data` do not count.

    Args:
      data: input size, sides, random changes and what becomes of difficult objects and crowds, see
        there.
      input_size: H and W, in the place of those of `data`. Make it square for images of either
        orientation.
      is_training: change images at random.
      with_erased: in training, add the objects whose annotations were erased.
      num_classes: C, background included, to add the annotated classes; None leaves them out.

    Raises:
      ValueError: a setting is out of its range.
    """
    self._data = data = data_config.frozen(data)
    self._input_size = tuple(input_size or data.input_size)
    self._is_training = is_training
    _check(data, self._input_size)
    self._select_objects = functools.partial(
      object_selection.select_objects,
      difficult=data.difficult if is_training else "keep",
      crowd=data.crowd if is_training else "keep",
      with_regions=is_training,
    )
    augmentation = data.augmentation
    self._zooms = is_training and (data.scale_min, data.scale_max) != (1.0, 1.0)
    self._composes = is_training and bool(augmentation.mosaic or augmentation.copy_paste)
    self._num_classes = num_classes
    self._with_erased = is_training and with_erased
    if self._with_erased and self._composes:
      raise ValueError(
        "with_erased is True; accepted: False with augmentation.mosaic or copy_paste, whose images"
        " show erased objects of several records"
      )
    self._decoder = decoder.DetectionDecoder()

  def __call__(
    self,
    serialized_example: tf.Tensor,
    seed: tf.Tensor,
    read_partner: Callable[[int], tf.Tensor] | None = None,
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Decodes and parses a serialized tf.Example.

    Args:
      serialized_example: string scalar.
      seed: integers [2]; equal seeds give equal results. Not used outside training.
      read_partner: reads, as a serialized tf.Example, partner 0 … `composition.NUM_PARTNERS` - 1 of
        the image, with which mosaics and pasted objects are made. None takes the image itself.

    Returns:
      `(image, labels)` as the class describes.
    """
    decoded = self._decoder.decode(serialized_example)
    seeds = _Seeds.of(seed)
    image, objects, parts = decoded["image"], self._select_objects(decoded), ()
    if self._composes:
      image, *objects, parts = self._compose(
        decoded, read_partner or (lambda _: serialized_example), seeds.compose
      )
    boxes_norm, classes, difficult, is_crowd, area_orig = objects
    boxes_orig = boxes_norm * tf.tile(_size(image), [2])  # [n, 4]
    flipped = tf.constant(False)
    if self._is_training:
      # A change of your own that moves pixels goes into this method, with image and boxes.
      image, boxes_norm, flipped, move = self._turn_and_mirror(image, boxes_norm, seeds)
    original_size = _size(image)
    window = scaled_size, offset, kept_size = self._window(original_size, seeds.zoom)
    boxes_px, keep = _cut_out(boxes_norm, *window)
    # The rest of a region that is mostly cut off is still no background.
    keep |= (classes == 0) & (box_ops.area(boxes_px) > 0.0)
    labels = {
      "gt_boxes_px": self._kept(boxes_px, keep, -1.0),  # [N, 4]
      "gt_classes": self._kept(classes, keep, -1),  # [N]
      "gt_difficult": self._kept(difficult, keep, False),  # [N]
      "gt_boxes_orig": self._kept(boxes_orig, keep, -1.0),  # [N, 4]
      "gt_is_crowd": self._kept(is_crowd, keep, False),  # [N]
      "gt_area_orig": self._kept(area_orig, keep, 0.0),  # [N]
      "image_size_px": kept_size,
      "image_info": tf.stack([original_size, kept_size, scaled_size / original_size, offset]),
      "num_dropped_boxes": tf.maximum(
        tf.reduce_sum(tf.cast(keep, tf.int32)) - self._data.max_num_boxes, 0
      ),
      "flipped": flipped,
      "image_key": _image_key(decoded["source_id"]),
      "example_valid": tf.constant(True),
    }
    if parts:
      labels |= self._part_labels(parts, move, window)
    elif self._num_classes is not None:
      labels["annotated_classes"] = self._annotated(decoded)  # [C]
    if self._with_erased:
      labels |= self._erased_labels(serialized_example, move, window)
    image = fitting.resize_and_crop(image, scaled_size, offset, kept_size)
    if self._is_training:
      # A change of your own that leaves the boxes where they are goes here.
      image = color_ops.random_color_jitter(
        image, seeds.color, **self._data.augmentation.color_jitter.as_dict()
      )
    return fitting.pad(image, self._input_size), labels

  def blank(self) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """An example without image or objects, marked invalid, to fill up the last batch.

    Its sizes are those of a black image that fills the input, so that no one divides by zero.
    """
    size = tf.constant(self._input_size, tf.float32)  # [2]
    N = self._data.max_num_boxes
    labels = {
      "gt_boxes_px": tf.fill([N, 4], -1.0),
      "gt_classes": tf.fill([N], -1),
      "gt_difficult": tf.fill([N], False),
      "gt_boxes_orig": tf.fill([N, 4], -1.0),
      "gt_is_crowd": tf.fill([N], False),
      "gt_area_orig": tf.fill([N], 0.0),
      "image_size_px": size,
      "image_info": tf.stack([size, size, tf.ones([2]), tf.zeros([2])]),  # [4, 2]
      "num_dropped_boxes": tf.constant(0),
      "flipped": tf.constant(False),
      "image_key": tf.constant(0),
      "example_valid": tf.constant(False),
    }
    if self._num_classes is not None:
      labels["annotated_classes"] = tf.ones([self._num_classes])
    return tf.zeros([*self._input_size, 3]), labels

  def _compose(
    self,
    decoded: dict[str, tf.Tensor],
    read_partner: Callable[[int], tf.Tensor],
    seed: tf.Tensor,
  ) -> tuple[tf.Tensor | annotated_image.Parts | tuple[()], ...]:
    """The image composed with its partners, what `select_objects` would return of it, its parts.

    Boxes of the parts are fractions of the image; there are none where nobody asks for annotated
    classes.
    """

    def annotate(decoded):
      boxes_norm, *others = self._select_objects(decoded)
      boxes_px = boxes_norm * tf.tile(_size(decoded["image"]), [2])  # [n, 4]
      one = annotated_image.AnnotatedImage(decoded["image"], boxes_px, *others)
      if self._num_classes is None:
        return one
      return annotated_image.whole(one, self._annotated(decoded))

    composed = composition.compose(
      annotate(decoded),
      lambda number: annotate(self._decoder.decode(read_partner(number))),
      seed,
      scale_of=lambda size: tf.reduce_min(self._fitted_size(size) / size),
      mosaic_size=self._fitted_size(tf.constant(self._input_size, tf.float32)),
      probabilities=self._probabilities,
      max_objects=self._data.max_num_boxes,
    )
    size = tf.tile(composed.size, [2])  # [4]
    parts = composed.parts
    if parts:
      parts = parts._replace(boxes_px=parts.boxes_px / size)
    return composed.image, composed.boxes_px / size, *composed[2:-1], parts

  @property
  def _probabilities(self) -> tuple[float, float]:
    """Those of a mosaic and of pasted objects."""
    return self._data.augmentation.mosaic, self._data.augmentation.copy_paste

  def _annotated(self, decoded: dict[str, tf.Tensor]) -> tf.Tensor:
    """The mask of annotated classes, float32 [C]."""
    return decoder.annotated_mask(decoded["annotated_classes"], self._num_classes)

  def _part_labels(
    self,
    parts: annotated_image.Parts,
    move: Callable[[tf.Tensor], tf.Tensor],
    window: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
  ) -> dict[str, tf.Tensor]:
    """The parts of a composed image, moved and cut as objects are; fractions of it before."""
    parts_px, _ = _cut_out(move(parts.boxes_px), *window)
    is_left = box_ops.area(parts_px) > 0.0
    masks = tf.boolean_mask(parts.annotated, is_left)  # [p, C]
    P = composition.num_parts(self._probabilities)
    return {
      "annotated_classes": tf.ensure_shape(tf.reduce_min(masks, axis=0), [self._num_classes]),
      "annotated_parts_px": self._kept(parts_px, is_left, -1.0, P),  # [P, 4]
      "annotated_parts": self._kept(parts.annotated, is_left, 1.0, P),  # [P, C]
    }

  def _turn_and_mirror(
    self, image: tf.Tensor, boxes_norm: tf.Tensor, seeds: "_Seeds"
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """The image and its boxes turned and mirrored, whether from left to right, and the same move.

    The move takes other boxes of the image, float32 [m, 4], along.
    """
    data, turns = self._data, self._data.augmentation.rotate_90
    upside_down = tf.constant(False)
    if turns:
      image, boxes_norm = augmentations.random_quarter_turns(image, boxes_norm, seeds.turn, turns)
    image, boxes_norm, flipped = augmentations.random_horizontal_flip(
      image, boxes_norm, seeds.flip, data.flip_probability
    )
    if data.vertical_flip_probability:
      image, boxes_norm, upside_down = augmentations.random_vertical_flip(
        image, boxes_norm, seeds.vertical, data.vertical_flip_probability
      )

    def move(others_norm: tf.Tensor) -> tf.Tensor:
      if turns:
        pixel = tf.zeros([1, 1, 3], tf.uint8)
        _, others_norm = augmentations.random_quarter_turns(pixel, others_norm, seeds.turn, turns)
      others_norm = augmentations.mirror_boxes(others_norm, flipped, axis=1)
      return augmentations.mirror_boxes(others_norm, upside_down, axis=0)

    return image, boxes_norm, flipped, move

  def _erased_labels(
    self,
    serialized_example: tf.Tensor,
    move: Callable[[tf.Tensor], tf.Tensor],
    window: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
  ) -> dict[str, tf.Tensor]:
    """The erased objects, moved and cut as the others were; nothing else depends on them."""
    boxes_norm, classes = decoder.erased_objects(serialized_example)
    boxes_px, keep = _cut_out(move(boxes_norm), *window)
    return {
      "erased_boxes_px": self._kept(boxes_px, keep, -1.0),  # [N, 4]
      "erased_classes": self._kept(classes, keep, -1),  # [N]
    }

  def _window(
    self, original_size: tf.Tensor, seed: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Size to resize an image to, offset of the crop and size of the crop, float32 [2] each."""
    fitted_size = self._fitted_size(original_size)  # [2]
    if not self._zooms:
      return fitted_size, tf.zeros([2]), fitted_size
    window_size = fitted_size
    if self._data.scale_crop == "input":
      window_size = tf.constant(self._input_size, tf.float32)  # [2]
    scaled_size, offset = augmentations.random_zoom_window(
      fitted_size, window_size, seed, self._data.scale_min, self._data.scale_max
    )
    return scaled_size, offset, tf.minimum(window_size, scaled_size)

  def _fitted_size(self, original_size: tf.Tensor) -> tf.Tensor:
    """The size inside the input without a zoom, float32 [2]."""
    return fitting.fitted_size(
      original_size, self._input_size, self._data.short_side, self._data.long_side
    )

  def _kept(
    self,
    values: tf.Tensor,
    keep: tf.Tensor,
    padding: float | int | bool,
    num_rows: int | None = None,
  ) -> tf.Tensor:
    """The first `num_rows`, or N, of the rows to `keep`, filled up with `padding`."""
    num_rows = num_rows or self._data.max_num_boxes
    values = tf.boolean_mask(values, keep)[:num_rows]
    rows = num_rows - tf.shape(values)[0]
    paddings = [[0, rows]] + [[0, 0]] * (values.shape.rank - 1)
    padded = tf.pad(values, paddings, constant_values=padding)
    return tf.ensure_shape(padded, [num_rows, *values.shape[1:]])


class _Seeds(NamedTuple):
  """A seed, integers [2], for each random change."""

  flip: tf.Tensor
  zoom: tf.Tensor
  vertical: tf.Tensor
  compose: tf.Tensor
  turn: tf.Tensor
  color: tf.Tensor

  @classmethod
  def of(cls, seed: tf.Tensor) -> Self:
    """All of them from one; the first three as they were before there were others."""
    return cls(
      *tf.unstack(tf.random.split(seed, 3)),
      *tf.unstack(tf.random.split(tf.random.fold_in(seed, 1), 3)),
    )


def _image_key(source_id: tf.Tensor) -> tf.Tensor:
  return tf.cast(tf.strings.to_hash_bucket_fast(source_id, _NUM_IMAGE_KEYS), tf.int32)


def _cut_out(
  boxes_norm: tf.Tensor, scaled_size: tf.Tensor, offset: tf.Tensor, kept_size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Boxes [n, 4] in pixels of what is cut out of the resized image, and which to keep, bool [n]."""
  boxes_px = boxes_norm * tf.tile(scaled_size, [2]) - tf.tile(offset, [2])  # [n, 4]
  return augmentations.crop_boxes(boxes_px, kept_size)


def _size(image: tf.Tensor) -> tf.Tensor:
  return tf.cast(tf.shape(image)[:2], tf.float32)  # [2]


def _check(data: data_config.Data, input_size: tuple[int, ...]) -> None:
  """Raises ValueError where a setting is out of its range."""
  if len(input_size) != 2 or min(input_size) < 1:
    raise ValueError(
      f"input_size is {list(input_size)}; accepted: height and width, at least 1 each"
    )
  for name in _CHECKED:
    fields.check_value(data, name, getattr(data, name))
  fields.check(data.augmentation, "augmentation")
  if not 0.0 < data.scale_min <= data.scale_max:
    raise ValueError(
      f"scale_min is {data.scale_min}; accepted: above 0 and at most scale_max ({data.scale_max})"
    )
