"""Sets with erased boxes, and detections in their images, of files or of detectors trained here.

In the output folder:

  DATA/                      the data set, see `accuracy/data.py`, with its sparse splits
  DATA/SET_seedN/folds/      audits with folds, as `mtl_ssl_tf.audit_labels` leaves them
  DATA/SET_seedN/own/        a detector that is trained on the images that it then detects in
  DATA/SET_seedN/COLUMN.json figures of all rules
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import yaml

from benchmarks.accuracy import data as data_lib
from benchmarks.auditing import arms, figures
from mtl_ssl_tf import audit_labels, compare
from mtl_ssl_tf.auditing import inputs
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import processes
from mtl_ssl_tf.comparison import runs as training_runs
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.records import contents

FOLDS, OWN, FILE = "folds", "own", "file"
_SHARE = re.compile(r"0\.\d+")


@dataclasses.dataclass(frozen=True)
class Sparse:
  """A training set of which a share of the boxes of each class was erased.

  Attributes:
    data: the data set, ready for training.
    share: that was erased, as text.
    seed: of the erasing, and of all trainings on it.
  """

  data: data_lib.DataSet
  share: str
  seed: int

  @property
  def split(self) -> str:
    """Name of its split."""
    title = f"train_{100 * float(self.share):g}miss"
    return f"{title}_seed{self.seed}" if self.seed else title

  @property
  def folder(self) -> pathlib.Path:
    """Folder of what is made of it."""
    return self.data.folder / f"{100 * float(self.share):g}miss_seed{self.seed}"

  def make(self) -> None:
    """Writes its records, unless they are there.

    Raises:
      ValueError: boxes cannot be erased.
    """
    records = self.data.folder / "records"
    if not (records / schema.manifest_file(self.split)).exists():
      data_lib.run_module(
        "mtl_ssl_tf.data.sparse_annotations",
        f"--input_dir={records}",
        "--split=train",
        "--protocol=miss",
        f"--share={self.share}",
        f"--seed={self.seed}",
      )

  def read(self) -> tuple[inputs.Input, list[np.ndarray]]:
    """Returns its images and annotations, and the erased boxes of each image.

    Those are float64 [M, 5]: ymin, xmin, ymax, xmax in pixels, and class.
    """
    data = inputs.obtain(self.data.records(self.split), self.folder)
    erased = []
    for record, image in zip(inputs.examples(data.records), data.truth.images, strict=True):
      values, _ = contents.read(record)
      boxes = np.array([values[key] for key in schema.ERASED_BOX], np.float64).reshape(4, -1).T
      labels = np.array(values[schema.ERASED_LABEL], np.float64)
      erased.append(np.column_stack([boxes * np.array(image.size * 2), labels]))
    return data, erased


def parse_set(text: str) -> tuple[str, str]:
  """Returns data set and share of e.g. `bccd:0.1`.

  Raises:
    ValueError: the text has another form.
  """
  name, _, share = text.partition(":")
  if not name or not _SHARE.fullmatch(share) or not 0.0 < float(share) < 1.0:
    raise ValueError(f"--sets is {text!r}; accepted: DATA:SHARE, such as bccd:0.1")
  return name, share


@dataclasses.dataclass(frozen=True)
class Training:
  """Settings of all trainings of a benchmark.

  Attributes:
    config_file: YAML file.
    num_folds: of the images.
    steps: of each training.
    jobs: trainings at a time.
  """

  config_file: str
  num_folds: int
  steps: int
  jobs: int


def detect(
  sparse: Sparse, column: str, training: Training, data: inputs.Input
) -> list[detection_files.Detections]:
  """Trains detectors on a set, unless that was done; returns what they detect in its images.

  Args:
    sparse: the set.
    column: `FOLDS` or `OWN`.
    training: how.
    data: images and annotations of the set.

  Raises:
    processes.RunError: a training failed.
    ValueError: there are trainings of other settings.
  """
  folder = sparse.folder / column
  if column == FOLDS:
    flags = [f"--data={data.records}", f"--output_dir={folder}", f"--folds={training.num_folds}"]
    flags += ["--config_file", str(data_lib.ROOT / training.config_file)]
    flags += [f"--steps={training.steps}", f"--seed={sparse.seed}", f"--jobs={training.jobs}"]
    if audit_labels.main(flags):
      raise processes.RunError(f"{sparse.split}: the audit in {folder} failed")
    results = folder / audit_labels.FOLDS / detection_files.COCO_RESULTS_FILE
    return detection_files.read_predictions(str(results), data.truth, "ground_truth")
  overlay = folder / "own.yaml"
  folder.mkdir(parents=True, exist_ok=True)
  same = {"input_path": data.records}
  overlay.write_text(yaml.safe_dump({"task": {"train_data": same, "validation_data": same}}))
  arm = arms_lib.Arm(OWN, (str(data_lib.ROOT / training.config_file), str(overlay)))
  schedule = training_runs.Schedule(training.steps, -(-training.steps // 4))
  digest = arms_lib.digest(compare.resolve(arm, schedule.experiment))
  training_runs.claim(folder, arm.name, f"{digest}-{data.fingerprint}", schedule)
  run = training_runs.Run(arm, sparse.seed, folder)
  if compare.carry_out([run], schedule, 1):
    raise processes.RunError(f"{sparse.split}: the training in {folder} failed")
  results, _ = run.results(schedule.steps)
  return detection_files.read_predictions(str(results), data.truth)


def judge(
  sparse: Sparse,
  column: str,
  data: inputs.Input,
  erased: list[np.ndarray],
  found: list[detection_files.Detections],
  rules: Mapping[str, arms.Rule] = arms.RULES,
) -> list[dict[str, object]]:
  """Returns the figures of all rules, and leaves them in the folder of the set.

  Args:
    sparse: the set.
    column: where the detections come from.
    data, erased: as `Sparse.read` returns them.
    found: detections in each image.
    rules: by name.
  """
  about = {
    "data": sparse.data.name,
    "share": sparse.share,
    "seed": sparse.seed,
    "column": column,
    "num_erased": sum(map(len, erased)),
  }
  rows = [
    {**about, "arm": name, "figures": figures.measure(rule(data.truth, found), erased)}
    for name, rule in rules.items()
  ]
  sparse.folder.mkdir(parents=True, exist_ok=True)
  path = sparse.folder / f"{column}.json"
  path.write_text(json.dumps(rows, indent=1) + "\n")
  return rows


def results(folder: pathlib.Path) -> list[dict[str, object]]:
  """Returns all figures that there are below a folder."""
  paths = sorted(folder.glob("*/*miss_seed*/*.json"))
  return [row for path in paths for row in json.loads(path.read_text())]
