"""The checkpoint that a folder means, whatever is damaged or gone, and the lines that tell so."""

import json
import math
import os
import pathlib

import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import run_checkpoints


def write(folder: pathlib.Path, name: str, weight: float = 1.0) -> pathlib.Path:
  """A checkpoint of one weight."""
  model = tf.Module()
  model.weight = tf.Variable([weight, weight])
  tf.train.Checkpoint(model=model, other=tf.Variable(math.nan)).write(str(folder / name))
  return folder / name


def damage(path: pathlib.Path) -> None:
  path.with_name(f"{path.name}.data-00000-of-00001").write_bytes(b"short")


def note_best(folder: pathlib.Path, *names: str) -> None:
  """Lists best checkpoints, the best first, as a run does."""
  info = {"mAP": 0.5, "kept": [{"checkpoint": name, "step": 1, "figure": 0.5} for name in names]}
  (folder / "info.json").write_text(json.dumps(info))


@pytest.fixture(name="run")
def _run(tmp_path):
  """Steps 4, 8 and 12; the best one is of step 4, the second best of step 8."""
  (tmp_path / "best").mkdir()
  for step in (4, 8, 12):
    write(tmp_path, f"ckpt-{step}")
  for step in (4, 8):
    write(tmp_path / "best", f"best_ckpt-{step}")
  note_best(tmp_path / "best", "best_ckpt-4", "best_ckpt-8")
  return tmp_path


def chosen(run: pathlib.Path, given: str | None = None, subdir: str = "best") -> tuple[str, str]:
  choice = run_checkpoints.choose(str(run), subdir, given)
  return str(pathlib.Path(choice.path).relative_to(run)), choice.kind


def refused(run: pathlib.Path, given: str | None = None) -> str:
  with pytest.raises(ValueError) as error:
    run_checkpoints.choose(str(run), "best", given)
  return str(error.value).replace(str(run), "RUN")


def told(capsys, run: pathlib.Path) -> list[str]:
  return capsys.readouterr().err.replace(str(run), "RUN").splitlines()


class TestChoice:
  def test_the_best(self, run, capsys):
    assert chosen(run) == ("best/best_ckpt-4", "best")
    assert not told(capsys, run)

  def test_the_second_best_where_the_best_is_damaged(self, run, capsys):
    damage(run / "best" / "best_ckpt-4")
    assert chosen(run) == ("best/best_ckpt-8", "best")
    (line,) = told(capsys, run)
    assert line.startswith(
      "warning: checkpoint RUN/best/best_ckpt-4 is left out, as it cannot be read ("
    )

  @pytest.mark.parametrize("is_damaged", [False, True])
  def test_the_newest_where_no_best_is_left(self, run, capsys, is_damaged):
    for step in (4, 8):
      if is_damaged:
        damage(run / "best" / f"best_ckpt-{step}")
      else:
        (run / "best" / f"best_ckpt-{step}.index").unlink()
    assert chosen(run) == ("ckpt-12", "latest")
    lines = told(capsys, run)
    assert lines.pop() == (
      "warning: RUN/best holds no best checkpoint to use; RUN/ckpt-12 is taken, the newest"
    )
    assert len(lines) == (2 if is_damaged else 0)

  def test_as_training_does_an_older_one_where_the_newest_is_damaged(self, run, capsys):
    damage(run / "ckpt-12")
    (run / "checkpoint").write_text('model_checkpoint_path: "ckpt-12"\n')
    assert chosen(run, subdir="") == ("ckpt-8", "latest")
    assert run_checkpoints.newest_usable(str(run)) == str(run / "ckpt-8")
    (line,) = told(capsys, run)  # Once.
    assert line.startswith("warning: checkpoint RUN/ckpt-12 is left out, as it cannot be read (")

  def test_weights_that_are_not_finite_are_left_out(self, run, capsys):
    write(run, "ckpt-16", math.nan)
    assert chosen(run, subdir="") == ("ckpt-12", "latest")
    assert told(capsys, run) == [
      "warning: checkpoint RUN/ckpt-16 is left out, as weights in it are not finite (1, such as "
      "model/weight)"
    ]

  def test_none_at_all(self, tmp_path):
    assert refused(tmp_path) == (
      "--model_dir 'RUN' holds no checkpoint; accepted: that of a training run"
    )

  def test_none_that_can_be_used(self, run):
    for path in run.rglob("*.index"):
      damage(path.with_suffix(""))
    assert refused(run) == (
      "--model_dir 'RUN' holds checkpoints, but none that can be used; accepted: that of a "
      "training run"
    )


class TestGiven:
  def test_a_checkpoint(self, run):
    assert chosen(run, str(run / "ckpt-8")) == ("ckpt-8", "given")

  def test_no_other_in_the_place_of_a_damaged_one(self, run):
    damage(run / "ckpt-8")
    message = refused(run, str(run / "ckpt-8"))
    assert message.startswith("--checkpoint 'RUN/ckpt-8' cannot be used, as it cannot be read (")
    assert message.endswith("); accepted: another one")

  def test_the_folder_of_the_best(self, run, capsys):
    assert chosen(run, str(run / "best")) == ("best/best_ckpt-4", "given")
    damage(run / "best" / "best_ckpt-4")
    assert chosen(run, str(run / "best")) == ("best/best_ckpt-8", "given")
    assert len(told(capsys, run)) == 1

  @pytest.mark.parametrize("name", ["best", "ckpt-9", "ckpt-8.index"])
  def test_one_that_is_gone(self, run, name):
    for path in (run / "best").iterdir():
      path.unlink()
    assert refused(run, str(run / name)) == (
      f"--checkpoint 'RUN/{name}' is no checkpoint; accepted: a path without ending such as"
      " 'RUN/ckpt-1000', or a folder with checkpoints"
    )


class TestFault:
  @pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".data-00001-of-00002"])
  def test_a_pipe_is_not_waited_for(self, run, ending):
    path = run / f"ckpt-12{ending}"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    found = run_checkpoints.fault(str(run / "ckpt-12"))
    assert found == f"{path} is a pipe and no regular file"

  def test_shapes_ask_for_more_than_there_is(self, run, monkeypatch):
    damage(run / "ckpt-12")
    path = str(run / "ckpt-12")
    # As long as that is no matter of memory, reading tells what is wrong.
    assert "Checksum does not match" in run_checkpoints.fault(path)
    monkeypatch.setattr(run_checkpoints, "_MAX_MISSING_BYTES", 0)
    found = run_checkpoints.fault(path)
    assert found.startswith("tensors of ") and found.endswith(" bytes in files of 5")


class TestFolder:
  @pytest.mark.parametrize("text", ["", '{"kept": 3}'])
  def test_the_best_without_a_list(self, run, text):
    (run / "best" / "info.json").write_text(text)
    assert run_checkpoints.usable(str(run / "best")) == str(run / "best" / "best_ckpt-8")
    (run / "best" / "checkpoint").write_text('model_checkpoint_path: "best_ckpt-4"\n')
    assert run_checkpoints.usable(str(run / "best")) == str(run / "best" / "best_ckpt-4")

  def test_one_that_tensorflow_noted(self, tmp_path):
    for name in ("model-1", "model-2", "model-3"):
      write(tmp_path, name)
    assert run_checkpoints.usable(str(tmp_path)) is None
    lines = ['model_checkpoint_path: "model-2"']
    lines += [f'all_model_checkpoint_paths: "model-{number}"' for number in (1, 2)]
    (tmp_path / "checkpoint").write_text("\n".join(lines))
    assert run_checkpoints.usable(str(tmp_path)) == str(tmp_path / "model-2")
    damage(tmp_path / "model-2")
    assert run_checkpoints.usable(str(tmp_path)) == str(tmp_path / "model-1")

  def test_that_is_not_there(self, tmp_path):
    assert run_checkpoints.usable(str(tmp_path / "none")) is None
