"""Runs either converter as an Apache Beam pipeline: here, or on Flink, Spark or Dataflow.

  python -m mtl_ssl_tf.data.beam_conversion pascal_voc --data_dir VOCdevkit/VOC2012 \\
      --split trainval --output_dir records --runner=DirectRunner
  python -m mtl_ssl_tf.data.beam_conversion coco_json --annotations FILE --image_dir DIR \\
      --split train --output_dir records --runner=FlinkRunner --flink_master=HOST:8081

The converter's own flags come first; all others are Beam's. Each shard is one element, so that
`--num_shards` bounds the number of machines at work. Shards, manifest and faults are those of the
converter itself, byte for byte; so is continuing after a stop. All machines must see data set and
output folder under the same paths and have this project installed.

Needs Apache Beam: `pip install 'mtl_ssl_tf[beam]'`, or `make beam` in a clone.
"""

import importlib.util
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.command_line import convert_beam as convert_beam_flags
from mtl_ssl_tf.data import coco_json, pascal_voc, progress_lines
from mtl_ssl_tf.data.records import converter_command, worker_pool
from mtl_ssl_tf.reading import json_text

_CONVERTERS = {"pascal_voc": pascal_voc, "coco_json": coco_json}


def runner(pipeline_flags: Sequence[str]) -> worker_pool.Runner:
  """Returns a runner that works on shards in a Beam pipeline of its own.

  Args:
    pipeline_flags: Beam's, such as `--runner=FlinkRunner`.

  Raises:
    ValueError: Apache Beam is not installed.
  """
  if importlib.util.find_spec("apache_beam") is None:
    raise ValueError(
      "Apache Beam is not installed; accepted: pip install 'mtl_ssl_tf[beam]', or make beam in a"
      " clone"
    )
  import apache_beam as beam  # Here, as all else works without it.
  from apache_beam.options import pipeline_options

  def run(
    task: worker_pool.ShardTask, num_images: list[int], progress: progress_lines.Progress
  ) -> list[Any]:
    """See `worker_pool.Runner`; Beam shows the progress in its own way."""
    del progress
    options = pipeline_options.PipelineOptions(list(pipeline_flags), save_main_session=False)
    with beam.Pipeline(options=options) as pipeline:
      _ = (
        pipeline
        | "Shards" >> beam.Create(list(range(len(num_images))))
        | "Spread" >> beam.Reshuffle()  # Else one worker might get them all.
        | "Work" >> beam.Map(_work, task)
      )
    return [json_text.read(_result_path(task, shard)) for shard in range(len(num_images))]

  return run


def _work(shard: int, task: Any) -> None:
  """Works on a shard, wherever, and leaves what came out where `runner` finds it."""
  # `Any`, as Beam checks annotations at run time and a protocol does not bear that.
  result = task(shard, lambda: None)
  files.write_bytes(_result_path(task, shard), json.dumps(result).encode())


def _result_path(task: worker_pool.ShardTask, shard: int) -> pathlib.Path:
  # Called a part, as the next conversion removes those.
  return task.folder / f"result-{shard}{files.PART_SUFFIX}"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags, pipeline_flags = convert_beam_flags.parser().parse_known_args(argv)
  converter = _CONVERTERS[flags.converter]
  return converter_command.run(
    lambda: converter.convert_split(**converter.arguments(flags), runner=runner(pipeline_flags))
  )


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
