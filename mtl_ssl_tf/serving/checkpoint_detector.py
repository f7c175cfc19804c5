"""The detector of a training run for use from Python, as it would be exported."""

import hashlib
import os

from mtl_ssl_tf.serving import export_lib, served_detector


class CheckpointDetector(served_detector.ServedDetector):
  """The model of a run's configuration with the weights of one of its checkpoints.

  Attributes:
    checkpoint: path prefix of the checkpoint.
    choice: which one that is: "best", "latest" or "given".
  """

  def __init__(
    self,
    model_dir: str | os.PathLike[str],
    checkpoint: str | None = None,
    raw_outputs: bool = False,
  ):
    """Builds the detector of a run and loads a checkpoint.

    Args:
      model_dir: of the run, with `params.yaml`, `label_map.txt` and checkpoints.
      checkpoint: path prefix, or a folder whose latest is meant; by default the run's best, or
        else its latest.
      raw_outputs: return what detections are made from, too; see `DetectionModule`.

    Raises:
      ValueError: something is missing or not acceptable.
    """
    run = export_lib.read_run(os.fspath(model_dir), checkpoint)
    self.checkpoint, self.choice = run.checkpoint, run.choice
    # Kept, since its functions do not keep it.
    self._module = export_lib.build_module(run, options=export_lib.Options(raw_outputs=raw_outputs))
    # Of the weights, the index has a checksum each.
    weights = served_detector.digest([f"{run.checkpoint}.index", run.label_map_file])
    settings = hashlib.sha256(repr(run.task.as_dict()).encode()).hexdigest()[:16]
    super().__init__(self._module.signatures(), run.class_names, f"{weights}-{settings}")
