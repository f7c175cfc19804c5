"""Detections of the validation step to metrics and result files, on the host.

The step knows each image by the place of its record (strings do not survive compiled code); here
the records hold its name. They are read once more for that, without decoding an image, when COCO
metrics or result files ask for names.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.evaluation import auxiliary_metrics, detection_metrics
from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.tasks import auxiliary_costs, unrefined_detections, validation_outputs
from mtl_ssl_tf.visualization import evaluation_report

_FIELD = "task.evaluation.coco_annotations"
_AUXILIARY = "auxiliary/"  # Begins the names of what belongs to the auxiliary metrics.
_LOSS = "validation/"  # Begins the names of losses.


class DetectionEvaluation:
  """Metrics and result files of one task: `reset`, `update_batch`, `result`.

  Attributes:
    metrics: the evaluators, fed with what has been added since `reset`.
    num_images: added since then.
  """

  def __init__(
    self,
    config: data_config.Evaluation,
    class_names: Sequence[str],
    input_path: str | Sequence[str],
    label_map_file: str,
  ):
    """Makes the evaluators.

    Args:
      config: what to measure and write.
      class_names: class 1 first.
      input_path: the records that the validation data are read from.
      label_map_file: their classes.

    Raises:
      ValueError: a setting is not acceptable.
    """
    self.metrics = detection_metrics.DetectionMetrics(
      class_names,
      config.metrics,
      iou_threshold=config.iou_threshold,
      ap_rule=config.voc_ap,
      inclusive_pixels=config.voc_inclusive_pixels,
      errors=config.errors,
      score_threshold=config.score_threshold,
    )
    self._auxiliary = auxiliary_metrics.AuxiliaryEvaluator()
    self._unrefined = unrefined_detections.UnrefinedDetections(config, class_names)
    self._config, self._class_names = config, tuple(class_names)
    self._results_dir = config.results_dir
    self._input_path, self._label_map_file = input_path, label_map_file
    self._needs_names = bool("coco" in config.metrics or config.results_dir)
    # Of the records, in their order; the objects are those of the annotation file, if one is given.
    self._truth: ground_truth.GroundTruth | None = None
    self.reset()

  def prepare(self, writes: bool = True) -> None:
    """Reads the images' names, and the official annotations, where they are used.

    Args:
      writes: whether this process writes the result files, where the configuration asks for any.

    Raises:
      ValueError: a file is at fault, or the annotations are of other classes or images.
    """
    self._results_dir = self._config.results_dir if writes else ""
    self._load_names()

  def _load_names(self) -> None:
    if not self._needs_names or self._truth is not None:
      return
    truth = truth_readers.read_records(self._input_path, self._label_map_file)
    if self._config.coco_annotations:
      truth = _with_official_objects(truth, self._config.coco_annotations)
    self._truth = truth

  def reset(self) -> None:
    """Forgets every image."""
    self.metrics.reset()
    self._auxiliary.reset()
    self._unrefined.reset()
    self._num_dropped_boxes = self.num_images = self._num_objects = 0
    # Of each image the loss of its batch.
    self._losses: dict[str, list[float]] = {}
    self._detections: dict[int, detection_files.Detections] = {}
    self._objects: dict[int, ground_truth.ImageTruth] = {}

  def update_batch(
    self, step_logs: Mapping[str, Sequence[np.ndarray]]
  ) -> list[dict[str, np.ndarray]]:
    """Adds the images of one validation step: of each output the values of all replicas.

    Returns:
      For each image, in the order of the files, its row of each output.
    """
    logs = {
      name: np.concatenate([np.asarray(value) for value in values])
      for name, values in step_logs.items()
    }
    # In the order of the files, whatever the replicas: it decides between equal scores.
    order = np.argsort(logs["example_index"], kind="stable")
    images = [
      {name: values[i] for name, values in logs.items()}
      for i in order[logs["example_valid"][order]]
    ]
    for image in images:
      self._num_dropped_boxes += int(image["num_dropped_boxes"])
      self.update(image)
      auxiliary = {
        name.removeprefix(_AUXILIARY): value
        for name, value in image.items()
        if name.startswith(_AUXILIARY)
      }
      if auxiliary:
        self._auxiliary.update(**auxiliary)
      for name, value in image.items():
        if name.startswith(_LOSS):
          self._losses.setdefault(name, []).append(float(value))
    return images

  def update(self, logs: Mapping[str, np.ndarray]) -> None:
    """Adds the detections of one image: of each output of the step the image's row."""
    index = int(logs["example_index"])
    real, found = logs["gt_classes"] > 0, _detections(logs)
    image = ground_truth.ImageTruth(
      str(index),
      "",
      None,
      ground_truth.Boxes.from_corners(logs["gt_boxes_orig"][real]),
      logs["gt_classes"][real].astype(np.int64),
      logs["gt_difficult"][real],
      logs["gt_is_crowd"][real],
      logs["gt_area_orig"][real].astype(np.float64),
      _annotated_classes(logs),
    )
    image_id: int | str = index
    if self._needs_names:
      self._load_names()
      image_id, known = self._truth.coco_image_ids[index], self._truth.images[index]
      image = (
        known
        if self._config.coco_annotations
        else dataclasses.replace(
          image, image_id=known.image_id, file_name=known.file_name, size=known.size
        )
      )
    self.num_images += 1
    self._num_objects += len(image.classes)
    self.metrics.update(image_id=image_id, **detection_files.metric_arguments(image, found))
    if f"{validation_outputs.UNREFINED}detection_scores" in logs:
      self._unrefined.add(image_id, image, _detections(logs, validation_outputs.UNREFINED))
    if self._results_dir:
      self._detections[index], self._objects[index] = found, image

  def result(self, step: int | None = None) -> dict[str, float]:
    """All figures of the images since `reset`; writes the result files where they are asked for.

    `dropped_boxes` counts ground-truth boxes beyond `max_num_boxes`, which the figures leave out,
    unless the ground truth is that of `coco_annotations`.

    Args:
      step: of the training, for the name of the folder.

    Raises:
      ValueError: no image has an object, or the files cannot be written.
    """
    if self.num_images and not self._num_objects:
      raise ValueError(
        f"task.validation_data.input_path: no object in {self.num_images} images; accepted:"
        " records with a box, as there is nothing to measure"
      )
    figures = self.metrics.result()
    if self._results_dir and self._detections:
      folder = pathlib.Path(self._results_dir)
      folder /= "evaluation" if step is None else f"step_{step}"
      try:
        self._write(folder, figures)
      except OSError as error:
        raise ValueError(
          f"task.evaluation.results_dir is {quoting.shown(self._results_dir)} ({error.strerror});"
          " accepted: a folder that can be written to"
        ) from error
    auxiliary, num_dropped = self._auxiliary.result(), float(self._num_dropped_boxes)
    losses = {name: float(np.mean(values)) for name, values in self._losses.items()}
    return {**figures, **auxiliary, **losses, "dropped_boxes": num_dropped}

  def describe(self, figures: Mapping[str, float]) -> list[str]:
    """Lines to read: tables class by class, and the auxiliary figures."""
    lines = [self.metrics.tables()]
    lines += [
      f"{name.removeprefix(_AUXILIARY):28s} {value:.3f}"
      for name, value in figures.items()
      if name.startswith(_AUXILIARY)
    ]
    losses = [
      f"{name.removeprefix(_LOSS)} {value:.3f}"
      for name, value in figures.items()
      if name.startswith(_LOSS)
    ]
    if losses:
      lines.append(f"validation: {', '.join(losses)}")
    return lines

  def closing_lines(self, folder: str | None) -> list[str]:
    """Returns which kind of error costs most, and where the confusion matrix is.

    Args:
      folder: takes the matrix as JSON and as a picture; None takes nothing.

    Raises:
      OSError: the folder cannot be written to.
    """
    lines = self.metrics.words()
    if lines and folder is not None:
      names = evaluation_report.write_confusion(folder, self.metrics.confusion())
      lines.append(f"confusion matrix: {pathlib.Path(folder) / names[-1]}")
    return lines

  def worth(self) -> auxiliary_costs.Worth | None:
    """Returns the main figure without and with refinement; None where it is not known."""
    unrefined = self._unrefined.figure()
    if unrefined is None:
      return None
    key = self.metrics.main_key
    return auxiliary_costs.Worth(key, unrefined, self.metrics.result()[key])

  def _write(self, folder: pathlib.Path, figures: Mapping[str, float]) -> None:
    """Leaves detections, ground truth, figures and pictures of the images since `reset`."""
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(self._detections)
    evaluated = dataclasses.replace(
      self._truth, images=tuple(self._objects[index] for index in order)
    )
    found = [self._detections[index] for index in order]
    ids = [self._truth.coco_image_ids[index] for index in order]
    detection_files.write_coco_results(
      folder / detection_files.COCO_RESULTS_FILE,
      zip(ids, found, strict=True),
      evaluated.category_ids,
    )
    coco_truth.write_coco(evaluated, folder / detection_files.COCO_GROUND_TRUTH_FILE, ids)
    split = record_paths.split_name(record_paths.match_files(self._input_path)[0])
    names = [image.image_id for image in evaluated.images]
    detection_files.write_comp4(folder, split, zip(names, found, strict=True), self._class_names)
    evaluation_report.write_report(folder, figures, self.metrics.details())


def _annotated_classes(logs: Mapping[str, np.ndarray]) -> np.ndarray | None:
  """The classes that an image's row is annotated for; None is all of them."""
  mask = logs.get("annotated_classes")
  if mask is None or np.all(mask > 0.5):
    return None
  return np.flatnonzero(mask[1:] > 0.5) + 1


def _detections(logs: Mapping[str, np.ndarray], prefix: str = "") -> detection_files.Detections:
  """The detections of an image's row without the padding; names begin with `prefix`."""
  classes = logs[f"{prefix}detection_classes"]
  valid = classes > 0
  return detection_files.Detections(
    ground_truth.Boxes.from_corners(logs[f"{prefix}detection_boxes_orig"][valid]),
    logs[f"{prefix}detection_scores"][valid].astype(np.float64),
    classes[valid].astype(np.int64),
  )


def _with_official_objects(truth: ground_truth.GroundTruth, path: str) -> ground_truth.GroundTruth:
  """The records' images with the objects of a COCO annotation file, and its category ids.

  Raises:
    ValueError: the file lacks a class or an image, or holds objects of a class that is none here.
  """
  official = coco_truth.read_coco(path)
  numbers = {name: number for number, name in enumerate(truth.class_names, start=1)}
  missing = [name for name in truth.class_names if name not in official.class_names]
  if missing:
    raise ValueError(
      f"{_FIELD} {path!r} has no category {quoting.shown(missing[0])}; accepted: the categories of"
      " the label map"
    )
  # Class id there -> here.
  class_ids = np.array([0, *(numbers.get(name, 0) for name in official.class_names)])
  images = []
  for image in truth.images:
    if image.image_id not in official.index:
      raise ValueError(
        f"{_FIELD} {path!r} has no image {quoting.shown(image.image_id)}; accepted: the annotations"
        " that the records of task.validation_data were made from"
      )
    objects = official.images[official.index[image.image_id]]
    classes = class_ids[objects.classes]
    if not classes.all():
      name = official.class_names[objects.classes[np.flatnonzero(classes == 0)[0]] - 1]
      raise ValueError(
        f"{_FIELD} {path!r} has objects of category {quoting.shown(name)}; accepted: those of the"
        f" label map, {', '.join(truth.class_names[:20])}"
      )
    annotated = objects.annotated_classes
    if annotated is not None:  # Categories that are no classes here do not matter.
      annotated = np.unique(class_ids[annotated][class_ids[annotated] > 0])
    images.append(
      dataclasses.replace(
        objects, classes=classes, image_id=image.image_id, annotated_classes=annotated
      )
    )
  ids = dict(zip(official.class_names, official.category_ids, strict=True))
  return dataclasses.replace(
    truth,
    source=path,
    images=tuple(images),
    category_ids=tuple(ids[name] for name in truth.class_names),
  )
