"""Old field names still work, and nothing else is touched."""

import pytest

from mtl_ssl_tf.configs import loading, renamed


@pytest.mark.parametrize("data", ["train_data", "validation_data"])
@pytest.mark.parametrize(("use", "mode"), [(True, "keep"), (False, "drop")])
def test_use_difficult(tmp_path, data, use, mode):
  old = {"task": {"seed": 3, data: {"use_difficult": use, "short_side": 5}}, "trainer": {}}
  new = renamed.modernize(old)
  assert new == {
    "task": {"seed": 3, data: {"difficult": mode, "short_side": 5}},
    "trainer": {},
  }
  assert old["task"][data]["use_difficult"] is use  # A copy.
  path = tmp_path / "old.yaml"
  path.write_text(f"task: {{{data}: {{use_difficult: {str(use).lower()}}}}}")
  task = loading.load_experiment("mtl_frcnn", [str(path)]).task
  assert getattr(task, data).difficult == mode


@pytest.mark.parametrize("data", ["train_data", "validation_data"])
def test_shuffle_buffer_size(data):
  old = {"task": {data: {"shuffle_buffer_size": 292, "cache": True}}}
  assert renamed.modernize(old) == {"task": {data: {"cache": True}}}
  assert old["task"][data]["shuffle_buffer_size"] == 292  # A copy.


@pytest.mark.parametrize("data", ["train_data", "validation_data", "data"])
@pytest.mark.parametrize(
  ("old", "new"), [("square", "single"), ("aspect_buckets", "by_orientation"), ("round", "round")]
)
def test_input_layout_and_size(data, old, new):
  fields = {"task": {data: {"canvas": old, "canvas_size": [4, 6]}}}
  modern = {"task": {data: {"input_layout": new, "input_size": [4, 6]}}}
  assert renamed.modernize(fields) == modern


@pytest.mark.parametrize(
  ("old", "new"),
  [
    ("own", "own_stage2"),
    ("shared_map", "shared_map"),
    ("classifier_features", "main_head"),
    ("round", "round"),
  ],
)
def test_auxiliary_features(old, new):
  fields = {"task": {"auxiliary": {"trunk": old, "shared_map": {"stride": 1}}}}
  modern = {"task": {"auxiliary": {"features": new, "shared_map": {"stride": 1}}}}
  assert renamed.modernize(fields) == modern
  # Fields of other groups are not theirs.
  others = {"task": {"train_data": {"trunk": old}, "auxiliary": {"canvas_size": [1, 1]}}}
  assert renamed.modernize(others) == others


@pytest.mark.parametrize(
  ("override", "messages"),
  [
    (
      "task.train_data.canvas_size=[64,96],task.auxiliary.trunk=own",
      [
        "warning: task.train_data.canvas_size: [64, 96] is an earlier name; write "
        "task.train_data.input_size: [64, 96]",
        "warning: task.auxiliary.trunk: own is an earlier name; write "
        "task.auxiliary.features: own_stage2",
      ],
    ),
    (
      "task: {data: {canvas_size: [64, 96]}}",
      [
        "warning: task.data.canvas_size: [64, 96] is an earlier name; write "
        "task.data.input_size: [64, 96]"
      ],
    ),
  ],
)
def test_earlier_names_on_the_command_line(override, messages, capsys):
  renamed._note.cache_clear()
  task = loading.load_experiment("mtl_frcnn", [], override).task
  assert task.train_data.input_size == [64, 96]
  assert task.auxiliary.features == "own_stage2"
  assert capsys.readouterr().err.splitlines() == messages


def test_an_earlier_name_with_another_type_is_refused_under_the_new_one():
  with pytest.raises(ValueError, match=r"field 'task\.train_data\.input_size' is 64"):
    loading.load_experiment("mtl_frcnn", [], "task: {train_data: {canvas_size: 64}}")


def test_a_renamed_field_is_noted_once(tmp_path, capsys):
  path = tmp_path / "old.yaml"
  path.write_text("task: {validation_data: {canvas: aspect_buckets, use_difficult: false}}")
  renamed._note.cache_clear()
  for _ in range(2):
    task = loading.load_experiment("mtl_frcnn", [str(path)]).task
  assert task.validation_data.input_layout == "by_orientation"
  assert capsys.readouterr().err.splitlines() == [
    "warning: task.validation_data.use_difficult: false is an earlier name; write "
    "task.validation_data.difficult: drop",
    "warning: task.validation_data.canvas: aspect_buckets is an earlier name; write "
    "task.validation_data.input_layout: by_orientation",
  ]


def test_the_file_of_an_earlier_run_is_read_in_silence(tmp_path, capsys):
  path = tmp_path / "params.yaml"
  path.write_text("task: {train_data: {canvas: aspect_buckets}}")
  params = loading.load_experiment("mtl_frcnn")
  loading.override_with_file(params, str(path))
  assert params.task.train_data.input_layout == "by_orientation"
  assert capsys.readouterr() == ("", "")


def test_a_new_name_next_to_the_old_one_counts():
  fields = {"task": {"train_data": {"use_difficult": True, "difficult": "ignore"}}}
  assert renamed.modernize(fields) == {"task": {"train_data": {"difficult": "ignore"}}}
  fields = {"task": {"train_data": {"input_size": [1, 2], "canvas_size": [3, 4]}}}
  assert renamed.modernize(fields) == {"task": {"train_data": {"input_size": [1, 2]}}}


@pytest.mark.parametrize(
  "fields",
  [
    None,
    [],
    {"task": None},
    {"task": {"train_data": None}},
    {"task": {"train_data": {"use_difficult": "yes"}}},
    {"trainer": {"use_difficult": True}},
  ],
)
def test_all_else_is_left(fields):
  assert renamed.modernize(fields) == fields
