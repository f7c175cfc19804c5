"""Arms of a command line, and what differs between them."""

import pytest

from mtl_ssl_tf.comparison import arms


@pytest.fixture
def configs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("a.yaml", "b.yaml"):
    (tmp_path / name).write_text("{}")


def test_configs(configs):
  assert arms.parse(["a.yaml", "both=a.yaml+b.yaml"], []) == [
    arms.Arm("a", ("a.yaml",)),
    arms.Arm("both", ("a.yaml", "b.yaml")),
  ]


def test_variants_are_of_the_only_config_which_is_the_first_arm(configs):
  found = arms.parse(["a.yaml"], ["off=x.y=1,z=2"], "w=3")
  assert found == [arms.Arm("a", ("a.yaml",), "w=3"), arms.Arm("off", ("a.yaml",), "w=3,x.y=1,z=2")]


@pytest.mark.parametrize(
  ("given", "variants", "message"),
  [
    (["a.yaml", "c.yaml"], [], "--configs c.yaml: 'c.yaml' is missing; accepted: a YAML file"),
    (["a.yaml"], [], "there is one arm; accepted: at least two"),
    (["a.yaml", "a=b.yaml"], [], "arms are called a, a; accepted: each name once"),
    (["a.yaml", "b.yaml"], ["x=y=1"], "--variants are of one configuration, and --configs names 2"),
    (["a.yaml"], ["x"], "--variants is 'x'; accepted: NAME=FIELD=VALUE"),
    (["a.yaml"], ["../x=y=1"], "--variants is '../x=y=1'; accepted"),
    (["..=a.yaml"], [], "--configs is '..=a.yaml'; accepted: FILE.yaml, or NAME="),
  ],
)
def test_what_is_refused(configs, given, variants, message):
  with pytest.raises(ValueError) as refused:
    arms.parse(given, variants)
  assert str(refused.value).startswith(message)


def test_differences_leave_out_what_runs_set():
  resolved = {
    "a": {"task.seed": 0, "task.x": 1, "task.y": 2},
    "b": {"task.seed": 5, "task.x": 1, "task.y": 3, "task.z": 4},
  }
  assert arms.differences(resolved) == {
    "task.y": {"a": 2, "b": 3},
    "task.z": {"a": None, "b": 4},
  }


def test_steps_are_equal():
  resolved = {"a": {"trainer.train_steps": 5}, "b": {"trainer.train_steps": 5}}
  assert arms.equal_steps(resolved, None) == 5
  resolved["b"] = {"trainer.train_steps": 6}
  assert arms.equal_steps(resolved, 7) == 7
  with pytest.raises(ValueError, match="train_steps differs: a 5, b 6; accepted: equal steps"):
    arms.equal_steps(resolved, None)
  with pytest.raises(ValueError, match="--steps is 0; accepted: at least 1"):
    arms.equal_steps(resolved, 0)


def test_digest_is_of_the_settings_alone():
  fields = {"task.seed": 0, "task.x": 1}
  assert arms.digest(fields) == arms.digest({"task.x": 1, "task.seed": 3})
  assert arms.digest(fields) != arms.digest({"task.seed": 0, "task.x": 2})
