"""The arms of the comparison; `mtl_ssl_tf.compare` has tests of its own."""

import pytest

from benchmarks import auxiliary_features
from mtl_ssl_tf.command_line import compare
from mtl_ssl_tf.comparison import arms
from mtl_ssl_tf.configs import loading, validation


@pytest.mark.parametrize("data", auxiliary_features.DATA)
def test_every_arm_is_configured_as_it_says(data):
  given = auxiliary_features.arguments(data, list(auxiliary_features.VARIANTS), [2])
  args = compare.parser().parse_args([*given, "--output_dir", "out"])
  assert args.seeds == [2] and args.steps == auxiliary_features.DATA[data][1]
  found = arms.parse(args.configs, args.variants, args.params_override)
  assert [arm.name for arm in found] == ["own_stage2", *auxiliary_features.VARIANTS]
  for arm in found:
    params = loading.load_experiment(args.experiment, list(arm.config_files), arm.overrides or None)
    validation.check_task(params.task)
    features = {"shared_map": "shared_map", "main_head": "main_head"}
    assert params.task.auxiliary.features == features.get(arm.name, "own_stage2")
    assert params.task.refinement.enabled == (arm.name != "baseline")
    assert (params.task.auxiliary.closeness.loss_weight > 0) == (
      arm.name not in ("task1", "baseline")
    )
    sizes = {"scenes": None, "bccd": [240, 320]}
    if sizes[data]:
      assert params.task.train_data.input_size == sizes[data]
      assert params.task.validation_data.input_size == sizes[data]


def test_each_data_set_is_compared_in_a_folder_of_its_own(monkeypatch, tmp_path):
  calls = []
  monkeypatch.setattr(
    auxiliary_features.compare, "main", lambda argv: calls.append(argv) or len(calls) - 1
  )
  monkeypatch.setattr(
    "sys.argv", ["x", f"--output_dir={tmp_path}", "--jobs=1", "--variants", "baseline"]
  )
  assert auxiliary_features.main() == 1
  folders = [argv[argv.index("--output_dir") + 1] for argv in calls]
  assert folders == [str(tmp_path / "scenes"), str(tmp_path / "bccd")]
  assert all(argv[argv.index("--jobs") + 1] == "1" for argv in calls)
