"""Tests of export.py: the real command, and its SavedModel where there is only TensorFlow."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf import command_line, export
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import mtl_detection
from tests.serving import tiny_run as tiny_run_lib

_DETECT = """
import sys
import numpy as np
import tensorflow as tf

for name in ("mtl_ssl_tf", "tf_keras", "official"):
  try:
    __import__(name)
  except ImportError:
    continue
  sys.exit(f"{name} can be imported")
signatures = tf.saved_model.load(sys.argv[1]).signatures
images = np.load(sys.argv[2])
results = {}
for name in images.files:
  encoded = tf.io.encode_png(images[name])
  example = tf.train.Example()
  example.features.feature["image/encoded"].bytes_list.value.append(encoded.numpy())
  for signature, value in (
    ("serving_default", images[name]),
    ("serving_bytes", encoded),
    ("serving_tf_example", example.SerializeToString()),
  ):
    outputs = signatures[signature](tf.constant(value)[tf.newaxis])
    results |= {f"{name} {signature} {key}": value[0].numpy() for key, value in outputs.items()}
np.savez(sys.argv[3], **results)
"""


@pytest.fixture(name="evaluated", scope="module")
def _evaluated(tiny_run):
  """The evaluator's input for each image of the run."""
  task = mtl_detection.MtlDetectionTask(tiny_run_lib.params(tiny_run).task)
  model = task.build_model()
  best = tf.train.latest_checkpoint(tiny_run / "best")
  tf.train.Checkpoint(model=model).read(best).expect_partial()
  # Compiled into a graph, as the trainer does.
  step = tf.function(lambda images, labels: task.validation_step((images, labels), model))
  batches = task.build_inputs(task.task_config.validation_data)
  return [{name: values[0].numpy() for name, values in step(*batch).items()} for batch in batches]


def test_says_what_it_took_and_writes_the_label_map(tiny_run, tiny_export):
  version, printed = tiny_export
  first, *_, verified, last = printed.splitlines()  # Between them progress, on a slow machine.
  assert first == f"checkpoint: {tiny_run}/best/best_ckpt-1 (best, step {tiny_run_lib.BEST_STEP})"
  assert verified.startswith("export and checkpoint on 3 images: largest difference ")
  assert last == f"SavedModel: {version} (classes: {len(tiny_run_lib.CLASS_NAMES)})"
  assert (version / "assets" / "label_map.txt").read_text().split() == tiny_run_lib.CLASS_NAMES
  assert sorted(os.listdir(version.parent)) == ["1", "batching_parameters.txt", "models.config"]
  assert sorted(os.listdir(version)) == [
    "assets",
    "assets.extra",
    "fingerprint.pb",
    "model_card.md",
    "saved_model.pb",
    "variables",
  ]


def test_its_card_says_what_was_exported(tiny_run, tiny_export):
  lines = (tiny_export[0] / "model_card.md").read_text().splitlines()
  places = [lines.index("# detector, version 1"), lines.index("## Classes")]
  assert lines[places[1] + 2 : places[1] + 5] == ["1. disc", "2. ring", "3. größe"]
  places += [lines.index(line) for line in ("- checkpoint: `best_ckpt-1` (best)", "- step: 5")]
  assert places == sorted(places)
  (use,) = [line for line in lines if line.startswith("Signatures (with their input): ")]
  assert use == (
    "Signatures (with their input): `serving_default` (`images`), `serving_bytes`"
    " (`encoded_images`), `serving_tf_example` (`tf_examples`); any number of images in a request."
    " Images are resized to a short side of 96 pixels, a long one of at most 160, and padded to"
    " 128 x 160."
  )
  params = (tiny_run / "params.yaml").read_text().strip()
  assert "\n".join(lines).endswith(f"```yaml\n{params}\n```")


@pytest.fixture(name="results", scope="module")
def _results(tiny_export, tmp_path_factory):
  """The detections of a process without our code, Keras and Model Garden, by key."""
  tmp_path = tmp_path_factory.mktemp("served")
  images_file, results_file = tmp_path / "images.npz", tmp_path / "results.npz"
  np.savez(images_file, *tiny_run_lib.images())
  done = tiny_run_lib.run_python(
    _DETECT,
    [str(path) for path in (tiny_export[0], images_file, results_file)],
    without=("mtl_ssl_tf", "tf_keras", "official"),
    cwd=tmp_path,
  )
  assert done.returncode == 0, done.stderr
  return np.load(results_file)


@pytest.mark.parametrize("signature", tiny_run_lib.SIGNATURES)
def test_without_our_code_the_boxes_are_those_of_the_evaluator(results, evaluated, signature):
  for i, (expected, image) in enumerate(zip(evaluated, tiny_run_lib.images(), strict=True)):
    served = {key: results[f"arr_{i} {signature} {key}"] for key in tiny_run_lib.OUTPUTS}
    count = int(served["num_detections"])
    assert count == np.count_nonzero(expected["detection_scores"]) > 10
    assert len(set(served["detection_classes"][:count])) == 3
    np.testing.assert_array_equal(served["detection_classes"], expected["detection_classes"])
    np.testing.assert_allclose(served["detection_scores"], expected["detection_scores"], atol=1e-5)
    np.testing.assert_allclose(
      served["detection_boxes_px"], expected["detection_boxes_orig"], atol=1e-3
    )
    size = np.tile(image.shape[:2], 2)
    np.testing.assert_allclose(
      served["detection_boxes"] * size, served["detection_boxes_px"], rtol=1e-6
    )


def test_an_error_is_one_line(tiny_run, tmp_path, capsys):
  target = tmp_path / "taken"
  target.write_text("")
  assert export.main([f"--model_dir={tiny_run}", f"--export_dir={target}"]) == 1
  printed = capsys.readouterr().err
  assert printed == (
    f"error: --export_dir {str(target)!r} is a file; accepted: a folder that is new, empty or holds"
    " versions\n"
  )


@pytest.mark.parametrize(
  "error",
  [
    ValueError("no run"),
    OSError("no run"),
    tf.errors.ResourceExhaustedError(None, None, "no run"),
  ],
  ids=lambda error: type(error).__name__,
)
def test_whatever_stops_an_export_is_one_line(monkeypatch, capsys, error):
  def fail(*args, **kwargs):
    raise error

  monkeypatch.setattr(export_lib, "export_run", fail)
  assert export.main(["--model_dir=run", "--export_dir=exported"]) == 1
  assert capsys.readouterr().err == "error: no run\n"


def test_a_program_of_its_own_leaves_the_accelerator_alone(monkeypatch):
  done = []
  monkeypatch.setattr(command_line, "prepare_tensorflow", lambda: done.append("environment"))
  monkeypatch.setattr(tf.config, "set_visible_devices", lambda *args: done.append(args))
  monkeypatch.setattr(export, "main", lambda: done.append("export") or 3)
  monkeypatch.setattr(sys, "argv", ["export.py", "--model_dir=run", "--export_dri=exported"])
  with pytest.raises(SystemExit):
    export.run()
  assert done == []
  sys.argv[-1] = "--export_dir=exported"
  assert export.run() == 3
  assert done == ["environment", ([], "GPU"), "export"]


def test_the_file_of_a_clone_names_itself_and_ends_with_the_status(tmp_path):
  def run(*flags):
    return subprocess.run(
      [sys.executable, "export.py", *flags],
      capture_output=True,
      text=True,
      check=False,
      cwd=pathlib.Path(__file__).parents[1],
    )

  assert run("--help").stdout.startswith("usage: export.py ")
  done = run(f"--model_dir={tmp_path / 'none'}", f"--export_dir={tmp_path / 'new'}")
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith("error: ")
  assert not (tmp_path / "new").exists()


def test_without_servings_protocol(tiny_run, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
  target = tmp_path / "detector"
  assert export.main([f"--model_dir={tiny_run}", f"--export_dir={target}", "--no-verify"]) == 0
  printed = capsys.readouterr().out.splitlines()
  assert printed[1] == (
    "without warm-up requests and server files, which need tensorflow-serving-api: pip install"
    " 'mtl_ssl_tf[serving]'"
  )
  assert os.listdir(target) == ["1"]
  assert not (target / "1" / "assets.extra").exists()


def test_flags_reach_the_export(tiny_run, tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(
    export_lib, "export_run", lambda *args, **kwargs: calls.append((args, kwargs))
  )
  flags = [f"--model_dir={tiny_run}", f"--export_dir={tmp_path}"]
  folders = (str(tiny_run), str(tmp_path))
  assert export.main(flags) == 0
  assert calls.pop() == (folders, {"checkpoint": None, "options": export_lib.Options()})
  others = ["--version=7", "--overwrite", "--batch_size=2", "--outputs=raw", "--no-verify"]
  others += ["--crop_method=matmul"]
  others += ["--verify_images=3", "--license=mine", "--checkpoint=there"]
  others += ["--default_thresholds=scores.json"]
  assert export.main(flags + others) == 0
  options = export_lib.Options(
    version=7,
    overwrite=True,
    batch_size=2,
    raw_outputs=True,
    crop_method="matmul",
    verify=False,
    verify_images=3,
    license="mine",
    default_thresholds="scores.json",
  )
  assert calls.pop() == (folders, {"checkpoint": "there", "options": options})
