"""The command, on a tiny run: it evaluates, writes the page, and is quick the second time."""

import json

import pytest

from mtl_ssl_tf import report
from mtl_ssl_tf.reporting import evaluated, findings
from mtl_ssl_tf.serving import export_lib, score_thresholds
from tests.serving import tiny_run as tiny_run_lib


@pytest.fixture(name="output", scope="module")
def _output(tiny_run, tmp_path_factory):
  """The page about the tiny run, compared with itself."""
  output = tmp_path_factory.mktemp("report") / "new" / "page.html"
  flags = [f"--model_dir={tiny_run}", f"--compare={tiny_run}", f"--output={output}"]
  assert report.main(flags) == 0
  return output


def test_what_is_written(output):
  (cache,) = (output.parent / "page_files").iterdir()
  assert cache.name.startswith(f"step_{tiny_run_lib.BEST_STEP}-")
  assert sorted(path.name for path in output.parent.iterdir()) == [
    "page.html",
    "page_files",
    "page_thresholds.json",
  ]
  thresholds = score_thresholds.read(
    output.with_name("page_thresholds.json"), tiny_run_lib.CLASS_NAMES
  )
  assert list(thresholds) == tiny_run_lib.CLASS_NAMES
  content = output.read_text()
  # Worst, best and pairs have the three images with pictures, from the records.
  assert content.count("data:image/jpeg") >= 3
  assert "größe" in content and str(cache) in content


def test_figures_from_the_files_are_those_of_the_evaluation(output, tiny_run):
  (cache,) = (output.parent / "page_files").iterdir()
  run = export_lib.read_run(str(tiny_run))
  source = evaluated.read(str(tiny_run), run, "records", cache / "evaluation")
  figures = findings.collect(source).figures
  noted = json.loads((cache / "evaluation" / "figures.json").read_text())
  assert (
    noted.items()
    <= {name: None if value != value else value for name, value in figures.items()}.items()
  )
  assert len(source.found) == 3 and sum(len(one.scores) for one in source.found) > 0


def test_the_second_time_nothing_is_evaluated(output, tiny_run, monkeypatch, capsys):
  before = output.read_text()
  monkeypatch.setattr(evaluated, "evaluate", None)
  flags = [f"--model_dir={tiny_run}", f"--output={output}", "--num_images=0"]
  assert report.main(flags) == 0
  (cache,) = (output.parent / "page_files").iterdir()
  assert capsys.readouterr().err.splitlines() == [
    f"{tiny_run}: detections of an earlier report: {cache}",
    f"page: {output}   thresholds: {output.with_name('page_thresholds.json')}",
  ]
  again = output.read_text()
  assert len(again) < len(before) and "data:image/jpeg" not in again


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--model_dir=nowhere"], "--model_dir 'nowhere' is no folder; accepted: that of a training"),
    (["--model_dir=."], "--model_dir '.' holds no params.yaml; accepted: that of a training run"),
    (["--compare=nowhere"], "--compare 'nowhere' is no folder; accepted: that of a training run"),
    (["--output=page"], "--output is 'page'; accepted: a file that ends in .html"),
    (["--num_images=61"], "--num_images is 61; accepted: 0 to 60"),
    (
      ["--records=none-*"],
      "validation data: no record files match 'none-*'; accepted: --records with record files, a",
    ),
    (["--compare=."], "--compare '.' holds no params.yaml; accepted: that of a training run"),
  ],
)
def test_faults(tiny_run, tmp_path, monkeypatch, capsys, flags, message):
  monkeypatch.chdir(tmp_path)
  output = [] if any("output" in flag for flag in flags) else ["--output=page.html"]
  assert report.main([f"--model_dir={tiny_run}", *output, *flags]) == 1
  *_, line = capsys.readouterr().err.splitlines()  # Lines on what is read may come before.
  assert line.startswith(f"error: {message}")
  assert list(tmp_path.iterdir()) == []
