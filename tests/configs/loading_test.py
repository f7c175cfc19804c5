"""From names, files and flags to a configuration."""

import pytest
import yaml

from mtl_ssl_tf.configs import loading
from mtl_ssl_tf.data import schema


def load(override: str | None = None, *files):
  return loading.load_experiment("mtl_frcnn", [str(file) for file in files], override)


def write_yaml(path, **fields) -> str:
  path.write_text(yaml.safe_dump(fields))
  return str(path)


class TestLoadExperiment:
  @pytest.mark.parametrize("name", ["mtl_fcnn", "", None, "mtl_frcnn/x", "retinanet"])
  def test_unknown_experiment(self, name):
    accepted = "mtl_frcnn, mtl_frcnn_co_mining, mtl_rfcn_co_mining, insloc"
    # Model Garden registers its own `retinanet`, which is no experiment of ours.
    with pytest.raises(ValueError, match=rf"^--experiment is {name!r}; accepted: {accepted}$"):
      loading.load_experiment(name)

  def test_without_overrides(self):
    assert load().task.rpn.num_proposals == 300

  @pytest.mark.parametrize(
    "override",
    ["task: {seed: 3, train_data: {input_size: [64, 96]}}", "{task: {seed: 3}}", "task.seed=3"],
  )
  def test_override_of_one_field_keeps_the_others(self, override):
    params = load(override)
    assert params.task.seed == 3
    assert params.task.rpn.num_proposals == 300

  def test_short_form(self):
    task = load("task.train_data.input_size=[64,96],task.label_map=/a:b,task.rpn.nms_iou=0.5").task
    assert task.train_data.input_size == [64, 96]
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
      ("task: {seed: !!python/tuple [1]}", "--params_override: not YAML ("),
      ("task.x[99999999999]=1", "--params_override: [99999999999] is not accepted; accepted: up"),
      ("task.seed=1,=,", "--params_override: Malformed hyperparameter value"),
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
      (None, "cannot be read (No such file or directory)"),
      (b"\xff\xfe\xfa", "cannot be read (no UTF-8 text)"),
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


class TestBase:
  def test_bases_then_own_fields_then_the_next_file(self, tmp_path):
    (tmp_path / "b.yaml").write_text("task: {seed: 1, rpn: {depth: 1, nms_iou: 0.1}}")
    (tmp_path / "c.yaml").write_text("task: {rpn: {depth: 2}}")
    (tmp_path / "a.yaml").write_text("{base: [b.yaml, c.yaml], task: {seed: 3}}")
    (tmp_path / "d.yaml").write_text("{base: b.yaml, task: {seed: 4}}")
    task = load(None, tmp_path / "a.yaml").task
    assert (task.seed, task.rpn.depth, task.rpn.nms_iou) == (3, 2, 0.1)
    # A file that the user names last wins with all that it is based on.
    task = load(None, tmp_path / "a.yaml", tmp_path / "d.yaml").task
    assert (task.seed, task.rpn.depth) == (4, 1)
    assert load(str(tmp_path / "a.yaml")).task.seed == 3

  def test_unknown_field_is_of_the_base(self, tmp_path):
    (tmp_path / "b.yaml").write_text("task: {sede: 1}")
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/b.yaml: unknown field 'task.sede'; "):
      load(None, tmp_path / "a.yaml")

  def test_a_flag_has_no_folder_to_start_from(self):
    with pytest.raises(ValueError, match=r"^--params_override: unknown field 'base'; "):
      load("base: a.yaml")


class TestFieldsOfBothSplits:
  @pytest.mark.parametrize(
    "override",
    [
      "task: {data: {short_side: 64, max_num_boxes: 7}, validation_data: {short_side: 32}}",
      "task.data.short_side=64,task.data.max_num_boxes=7,task.validation_data.short_side=32",
    ],
  )
  def test_a_splits_own_field_wins(self, override):
    task = load(override).task
    assert (task.train_data.short_side, task.validation_data.short_side) == (64, 32)
    assert (task.train_data.max_num_boxes, task.validation_data.max_num_boxes) == (7, 7)

  def test_the_later_file_wins(self, tmp_path):
    first = write_yaml(tmp_path / "a.yaml", task={"train_data": {"short_side": 64}})
    second = write_yaml(tmp_path / "b.yaml", task={"data": {"short_side": 96}})
    assert load(None, first, second).task.train_data.short_side == 96
    assert load(None, second, first).task.train_data.short_side == 64

  @pytest.mark.parametrize(
    ("override", "message"),
    [
      ("task: {data: {shrt_side: 3}}", "unknown field 'task.data.shrt_side'; the nearest is"),
      ("task: {data: {short_side: x}}", "field 'task.data.short_side' is 'x'; accepted: a whole"),
      ("task: {data: 3}", "field 'task.data' is 3; accepted: a mapping of field to value"),
      (
        "task: {data: {seed: 3}, train_data: 3}",
        "field 'task.train_data' is 3; accepted: a mapping of field to value",
      ),
    ],
  )
  def test_refused(self, override, message):
    with pytest.raises(ValueError) as error:
      load(override)
    assert str(error.value).startswith(f"--params_override: {message}")


class TestFieldsThatFollow:
  @pytest.mark.parametrize(
    ("override", "label_map"),
    [
      ("{seed: 1}", ""),
      ("{train_data: {input_path: a/train-*.tfrecord}}", "a/label_map.txt"),
      ("{train_data: {input_path: [a/b/x.tfrecord, c/y.tfrecord]}}", "a/b/label_map.txt"),
      ("{validation_data: {input_path: gs://a/b-*.tfrecord}}", "gs://a/label_map.txt"),
      ("{data: {input_path: x.tfrecord}}", "label_map.txt"),
      ("{data: {input_path: []}}", ""),
      ("{label_map: b.txt, train_data: {input_path: a/x.tfrecord}}", "b.txt"),
    ],
  )
  def test_label_map_is_beside_the_records(self, override, label_map):
    assert load(f"task: {override}").task.label_map == label_map

  def test_records_named_by_their_folder(self, tmp_path):
    task = load(f"task: {{train_data: {{input_path: {tmp_path}}}}}").task
    assert task.label_map == str(tmp_path / schema.LABEL_MAP_FILE)

  @pytest.mark.parametrize(
    ("rate", "decay_steps"),
    [
      ("{type: cosine}", 70),
      ("{type: cosine, cosine: {offset: 20}}", 50),
      ("{type: cosine, cosine: {decay_steps: 30}}", 30),
      ("{type: polynomial}", 70),
      ("{type: exponential}", None),
    ],
  )
  def test_rate_falls_until_the_last_step(self, rate, decay_steps):
    trainer = load(
      f"trainer: {{train_steps: 70, optimizer_config: {{learning_rate: {rate}}}}}"
    ).trainer
    assert trainer.optimizer_config.learning_rate.get().decay_steps == decay_steps
