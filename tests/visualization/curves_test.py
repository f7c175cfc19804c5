"""Event files as TF2 writes them, read and drawn."""

import math
import os
import struct

import numpy as np
import pytest
import tensorflow as tf
from matplotlib import pyplot as plt
from PIL import Image
from tensorboard.compat.proto import event_pb2

from mtl_ssl_tf.visualization import curves
from tests.fuzz import framing


def write(folder, scalars, suffix=".v2"):
  """Writes (name, step, value) rows as one event file, in order."""
  writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
  with writer.as_default():
    for name, step, value in scalars:
      tf.summary.scalar(name, value, step)
  writer.close()


@pytest.fixture
def run(tmp_path):
  """A training run of two steps, with one picture and one evaluation."""
  write(tmp_path / "train", [("total_loss", 10, 2.0), ("total_loss", 20, 1.5)])
  write(
    tmp_path / "validation",
    [("voc/mAP50_area", 20, 0.5), ("voc/AP50_area/cat", 20, 0.25), ("voc/AP50_area/dog", 20, 0.75)],
  )
  writer = tf.summary.create_file_writer(str(tmp_path / "train"), filename_suffix=".pictures")
  with writer.as_default():
    tf.summary.image("panel", np.zeros((1, 4, 4, 3), np.uint8), 20)
  writer.close()
  return tmp_path


class TestReadScalars:
  def test_scalars_of_all_folders(self, run):
    assert curves.read_scalars(str(run)) == {
      "train/total_loss": ([10, 20], [2.0, 1.5]),
      "validation/voc/mAP50_area": ([20], [0.5]),
      "validation/voc/AP50_area/cat": ([20], [0.25]),
      "validation/voc/AP50_area/dog": ([20], [0.75]),
    }

  def test_files_in_the_folder_itself(self, tmp_path):
    write(tmp_path, [("loss", 1, 3.0)])
    assert curves.read_scalars(str(tmp_path)) == {"loss": ([1], [3.0])}

  def test_after_a_restart_the_later_value_counts(self, tmp_path):
    write(tmp_path, [("loss", 1, 3.0), ("loss", 2, 2.0), ("loss", 4, 0.5)], ".1")
    write(tmp_path, [("loss", 2, 2.5), ("loss", 3, 1.5)], ".2")
    assert curves.read_scalars(str(tmp_path)) == {"loss": ([1, 2, 3, 4], [3.0, 2.5, 1.5, 0.5])}

  def test_every_one_of_many_steps_is_kept(self, tmp_path):
    # TensorBoard itself samples long curves.
    write(tmp_path, [("loss", step, float(step)) for step in range(1500)])
    assert len(curves.read_scalars(str(tmp_path))["loss"][0]) == 1500

  def test_no_events(self, tmp_path):
    with pytest.raises(ValueError, match=r"holds no event files; accepted: TensorBoard's"):
      curves.read_scalars(str(tmp_path))

  def test_events_without_scalars(self, tmp_path):
    write(tmp_path, [])
    with pytest.raises(ValueError, match="holds no scalars; accepted: event files"):
      curves.read_scalars(str(tmp_path))

  def test_what_cannot_be_read_is_left_out(self, run, capsys):
    os.mkfifo(run / "train" / "events.out.tfevents.1")
    (run / "train" / "events.out.tfevents.2").symlink_to(run / "nowhere")
    (run / "train" / "events.out.tfevents.3").write_bytes(b"no records at all")
    # A reader that believed the length would ask for as much memory.
    length = struct.pack("<Q", 2**40)
    (run / "train" / "events.out.tfevents.4").write_bytes(length + framing.masked_crc(length))
    good, bad = framing.frame(b""), framing.frame(b"\xff no event")
    (run / "train" / "events.out.tfevents.5").write_bytes(good + bad)
    (run / "train" / "events.out.tfevents.6").write_bytes(good + good[:-1] + b"x" + good)
    assert curves.read_scalars(str(run))["train/total_loss"] == ([10, 20], [2.0, 1.5])
    warnings = [
      line.replace(f"{run}/train/events.out.tfevents.", "")
      for line in capsys.readouterr().err.splitlines()
    ]
    assert warnings == [
      "warning: left out of the curves: 1: a pipe and no regular file",
      "warning: left out of the curves: 2: No such file or directory",
      "warning: left out of the curves: 3: damaged after 0 events",
      "warning: left out of the curves: 4: damaged after 0 events",
      "warning: left out of the curves: 5: damaged after 1 events",
      "warning: left out of the curves: 6: damaged after 1 events",
    ]

  def test_a_file_that_is_cut_short_counts_up_to_there(self, run):
    (path,) = [path for path in (run / "train").iterdir() if path.suffix == ".v2"]
    path.write_bytes(path.read_bytes()[:-1])
    assert curves.read_scalars(str(run))["train/total_loss"] == ([10], [2.0])

  @pytest.mark.parametrize(
    "tensor",
    [
      {"dtype": 1, "tensor_shape": {"dim": [{"size": 2**40}]}, "float_val": [1.0]},
      {"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}, "float_val": [1.0, 2.0]},
      {"dtype": 1, "tensor_content": b"123"},
      {"dtype": 1},
      {"dtype": 7, "string_val": [b"no number"]},
      {"dtype": 8, "scomplex_val": [1.0, 2.0]},
      {"dtype": 99, "float_val": [1.0]},
    ],
  )
  def test_values_that_are_no_scalars_are_left_out(self, tmp_path, tensor):
    write(tmp_path, [("loss", 1, 3.0)])
    scalars = {"plugin_data": {"plugin_name": "scalars"}}
    value = {"tag": "odd", "metadata": scalars, "tensor": tensor}
    event = event_pb2.Event(step=2, summary={"value": [value]})
    path = tmp_path / "events.out.tfevents.odd"
    path.write_bytes(framing.frame(event.SerializeToString()))
    assert curves.read_scalars(str(tmp_path)) == {"loss": ([1], [3.0])}


class TestSmooth:
  def test_mean_of_three_neighbours(self):
    smoothed = curves.smooth(np.array([0.0, 3.0, 0.0, 6.0]))
    np.testing.assert_allclose(smoothed, [1.5, 1.0, 3.0, 3.0])

  @pytest.mark.filterwarnings("error")
  def test_values_that_are_not_finite_are_passed_over(self):
    smoothed = curves.smooth(np.array([1.0, math.nan, 3.0, math.inf, math.nan, math.nan, 5.0]))
    np.testing.assert_allclose(smoothed, [1.0, 2.0, 3.0, 3.0, math.nan, 5.0, 5.0])

  def test_the_window_grows_with_the_curve(self):
    # 160 values: 4 on each side.
    values = np.zeros(160)
    values[80] = 9.0
    np.testing.assert_allclose(curves.smooth(values)[75:86], [0, *[1.0] * 9, 0], atol=1e-12)


@pytest.fixture
def figures(monkeypatch):
  """The figures that were drawn, kept from being closed."""
  kept = []
  monkeypatch.setattr(plt, "close", kept.append)
  yield kept
  monkeypatch.undo()
  for figure in kept:
    plt.close(figure)


def panels(figure):
  return {axis.get_title(): axis for axis in figure.axes if axis.axison}


class TestPlotCurves:
  def test_panels_lines_and_order(self, tmp_path, figures):
    long = (list(range(30)), [1.0 + 0.01 * step for step in range(30)])
    curves.plot_curves(
      {
        "train/learning_rate": long,
        "validation/voc/AP50_area/cat": ([1], [0.1]),
        "validation/voc/AP50_area/dog": ([1], [math.nan]),
        "train/rpn_box": long,
        "validation/rpn_box": ([1, 2], [3.0, 2.0]),
        "train/total_loss": ([1, 2], [100.0, 1.0]),
        "validation/voc/mAP50_area": ([1, 2], [0.001, 0.5]),
      },
      str(tmp_path / "new" / "curves.png"),
    )
    drawn = panels(figures[0])
    assert list(drawn) == [
      "total_loss (train)",
      "rpn_box",
      "voc/AP50_area (validation)",
      "voc/mAP50_area (validation)",
      "learning_rate (train)",
    ]
    # Raw, smoothed and validation; the rate is not smoothed.
    assert [line.get_linestyle() for line in drawn["rpn_box"].lines] == ["-", "-", "--"]
    labels = [text.get_text() for text in drawn["rpn_box"].get_legend().get_texts()]
    assert labels == ["train", "validation"]
    assert len(drawn["learning_rate (train)"].lines) == 1
    family = drawn["voc/AP50_area (validation)"].get_legend().get_texts()
    assert [text.get_text() for text in family] == ["cat", "dog"]
    assert len({line.get_color() for line in drawn["voc/AP50_area (validation)"].lines}) == 2
    # A loss that falls a hundredfold is drawn in powers of ten; a metric never is.
    assert drawn["total_loss (train)"].get_yscale() == "log"
    assert drawn["rpn_box"].get_yscale() == "linear"
    assert drawn["voc/mAP50_area (validation)"].get_yscale() == "linear"
    with Image.open(tmp_path / "new" / "curves.png") as picture:
      assert picture.width > 1000

  def test_runs_side_by_side_below_one_folder(self, tmp_path, figures):
    series = {"a/train/loss": ([1], [1.0]), "b/train/loss": ([1], [2.0])}
    curves.plot_curves(series, str(tmp_path / "curves.png"))
    (axis,) = panels(figures[0]).values()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a/train", "b/train"]
    assert len({line.get_color() for line in axis.lines}) == 2

  def test_many_classes_share_a_panel_without_a_legend(self, tmp_path, figures):
    series = {f"validation/voc/AP50_area/{i}": ([1, 2], [0.1, 0.2]) for i in range(80)}
    curves.plot_curves(series, str(tmp_path / "curves.png"))
    (axis,) = panels(figures[0]).values()
    assert len(axis.lines) == 80 and axis.get_legend() is None

  @pytest.mark.filterwarnings("error")
  def test_a_curve_that_touches_zero_has_no_powers_of_ten(self, tmp_path, figures):
    curves.plot_curves({"loss": ([1, 2], [100.0, 0.0])}, str(tmp_path / "curves.png"))
    assert panels(figures[0])["loss"].get_yscale() == "linear"

  def test_a_plain_name(self, tmp_path, figures):
    curves.plot_curves({"loss": ([1, 2], [1.0, 0.5])}, str(tmp_path / "curves.png"))
    assert list(panels(figures[0])) == ["loss"]

  def test_a_class_called_train_is_not_a_run(self, tmp_path, figures):
    curves.plot_curves({"voc/AP50_area/train": ([1], [0.5])}, str(tmp_path / "curves.png"))
    assert list(panels(figures[0])) == ["voc/AP50_area"]

  @pytest.mark.filterwarnings("error")
  def test_nothing_finite(self, tmp_path):
    curves.plot_curves({"loss": ([1], [math.nan])}, str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").exists()

  def test_nothing_to_draw(self, tmp_path):
    with pytest.raises(ValueError, match="series is empty; accepted: at least one curve"):
      curves.plot_curves({}, str(tmp_path / "curves.png"))


class TestMain:
  def test_draws(self, run, tmp_path, capsys):
    output = tmp_path / "curves.png"
    assert curves.main(["--model_dir", str(run), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"4 curves drawn to {output}\n"
    assert output.exists()

  @pytest.mark.parametrize("missing", ["", "nowhere"])
  def test_one_line_if_there_are_no_events(self, tmp_path, capsys, missing):
    folder = tmp_path / missing
    assert curves.main(["--model_dir", str(folder), "--output", str(tmp_path / "c.png")]) == 1
    error = capsys.readouterr().err
    assert (
      error == f"error: {folder} holds no event files; accepted: TensorBoard's (*.tfevents.*)\n"
    )

  def test_one_line_if_the_format_is_unknown(self, run, tmp_path, capsys):
    assert curves.main(["--model_dir", str(run), "--output", str(tmp_path / "c.xyz")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Format 'xyz' is not supported") and error.count("\n") == 1
