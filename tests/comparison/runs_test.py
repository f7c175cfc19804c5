"""The overrides of an evaluation with another refinement."""

import pytest

from mtl_ssl_tf.comparison import arms, runs
from mtl_ssl_tf.configs import experiments, loading
from mtl_ssl_tf.training import run_folder


@pytest.mark.parametrize("setting", runs.ABLATIONS)
@pytest.mark.parametrize(
  "overrides",
  [
    "",
    "task.refinement.enabled=true",
    "task.refinement.enabled=true,task.seed=4",
    "task.seed=4,task.refinement.enabled=true,task.refinement.zeroed_input=closeness",
    "task.evaluation.results_dir=out,task.anchors.scales=[1.0,2.0]",
  ],
)
def test_an_ablation_replaces_the_fields_of_a_variant(setting, overrides):
  text = runs.with_fields(overrides, [runs.ABLATIONS[setting], "task.evaluation.results_dir=''"])
  task = loading.load_experiment(experiments.DEFAULT, [], text).task
  assert task.refinement.enabled == (setting != "refinement_off")
  if setting.startswith("without_"):
    assert task.refinement.zeroed_input == setting.removeprefix("without_")
  assert task.evaluation.results_dir == ""
  assert task.seed == (
    4 if "seed" in overrides else loading.load_experiment(experiments.DEFAULT).task.seed
  )
  assert list(task.anchors.scales[:2]) == [1.0, 2.0] if "scales" in overrides else True


def test_fields_of_similar_names_stay():
  found = runs.with_fields(
    "task.refinement.enabled2=1,xtask.refinement.enabled=2", ["task.refinement.enabled=3"]
  )
  assert found == "task.refinement.enabled2=1,xtask.refinement.enabled=2,task.refinement.enabled=3"


def test_arms_that_are_ablated_are_variants_too():
  """The form that `arms.parse` gives: fields of all arms first, then those of the variant."""
  path = "configs/presets/small_data.yaml"
  both = arms.parse([path], ["b=task.refinement.enabled=true"], "task.seed=4")
  text = runs.with_fields(both[1].overrides, [runs.ABLATIONS["refinement_off"]])
  assert text == "task.seed=4,task.refinement.enabled=false"


@pytest.mark.parametrize(
  ("overrides", "missing"),
  [
    ("", set()),
    ("task.refinement.enabled=false", set(runs.ABLATIONS)),
    ("task.auxiliary.multi_object.loss_weight=0.0", {"without_multi_object"}),
    ("task.auxiliary.closeness.loss_weight=0.0", {"without_closeness"}),
  ],
)
def test_inputs_that_an_arm_lacks_are_not_left_out(overrides, missing):
  params = loading.load_experiment(experiments.DEFAULT, [], overrides or None)
  found = runs.ablations_of(run_folder.flatten(params.as_dict()))
  assert found == [setting for setting in runs.ABLATIONS if setting not in missing]
