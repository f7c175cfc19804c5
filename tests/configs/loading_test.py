"""From names, files and flags to a configuration."""

import pytest
import yaml

from mtl_ssl_tf.configs import loading


def load(override: str | None = None, *files):
  return loading.load_experiment("mtl_frcnn", [str(file) for file in files], override)


def write_yaml(path, **fields) -> str:
  path.write_text(yaml.safe_dump(fields))
  return str(path)


class TestLoadExperiment:
  @pytest.mark.parametrize("name", ["mtl_fcnn", "", None, "mtl_frcnn/x", "retinanet"])
  def test_unknown_experiment(self, name):
    # Model Garden registers its own `retinanet`, which is no experiment of ours.
    with pytest.raises(ValueError, match=rf"^--experiment is {name!r}; accepted: mtl_frcnn$"):
      loading.load_experiment(name)

  def test_without_overrides(self):
    assert load().task.rpn.num_proposals == 300

  @pytest.mark.parametrize(
    "override",
    ["task: {seed: 3, train_data: {canvas_size: [64, 96]}}", "{task: {seed: 3}}", "task.seed=3"],
  )
  def test_override_of_one_field_keeps_the_others(self, override):
    params = load(override)
    assert params.task.seed == 3
    assert params.task.rpn.num_proposals == 300

  def test_short_form(self):
    task = load("task.train_data.canvas_size=[64,96],task.label_map=/a:b,task.rpn.nms_iou=0.5").task
    assert task.train_data.canvas_size == [64, 96]
    assert task.label_map == "/a:b"
    assert task.rpn.nms_iou == 0.5

  def test_value_with_an_equals_sign(self):
    assert load("task: {label_map: a=b}").task.label_map == "a=b"

  def test_later_files_win_and_the_override_is_last(self, tmp_path):
    first = write_yaml(tmp_path / "a.yaml", task={"seed": 1, "rpn": {"depth": 1, "nms_iou": 0.1}})
    second = write_yaml(tmp_path / "b.yaml", task={"seed": 2, "rpn": {"depth": 2}})
    task = load("task: {seed: 3}", first, second).task
    assert (task.seed, task.rpn.depth, task.rpn.nms_iou) == (3, 2, 0.1)

  def test_override_from_a_file(self, tmp_path):
    assert load(write_yaml(tmp_path / "a=b.yaml", task={"seed": 4})).task.seed == 4

  def test_misspelt_field_names_its_source(self, tmp_path):
    path = write_yaml(tmp_path / "a.yaml", task={"rpn": {"nms_iuo": 0.5}})
    for override, files, source in (
      (None, [path], path),
      (path, [], path),
      ("task.rpn.nms_iuo=0.5", [], "--params_override"),
    ):
      message = rf"^{source}: unknown field 'task.rpn.nms_iuo'; the nearest is 'task.rpn.nms_iou'"
      with pytest.raises(ValueError, match=message):
        load(override, *files)

  @pytest.mark.parametrize(
    ("override", "message"),
    [
      ("task: {", "--params_override: not YAML (while parsing a flow node"),
      ("task: 3", "--params_override: field 'task' is 3; accepted: a mapping"),
      ("nowhere.yaml", "--params_override: the whole is 'nowhere.yaml'; accepted: a mapping"),
      ("task.seed=3=4", "--params_override: field 'task.seed' is '3=4'; accepted: a whole number"),
      ("task: {seed: !!python/object/apply:os.getcwd []}", "--params_override: not YAML ("),
    ],
  )
  def test_broken_override(self, override, message):
    with pytest.raises(ValueError) as error:
      load(override)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (None, "cannot be read (NotFoundError)"),
      (b"\xff\xfe\xfa", "cannot be read (UnicodeDecodeError)"),
      (b"task: [", "not YAML ("),
      (b"", "the whole is None; accepted: a mapping of field to value"),
      (b"- task", "the whole is ['task']; accepted: a mapping of field to value"),
    ],
  )
  def test_broken_file(self, tmp_path, content, message):
    path = tmp_path / "a.yaml"
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(ValueError) as error:
      load(None, path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)

  def test_folder_in_the_place_of_a_file(self, tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}: cannot be read \("):
      load(None, tmp_path)
