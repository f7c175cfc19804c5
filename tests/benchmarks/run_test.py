"""The command: what it plans, resumes, and does when a measurement fails."""

import json
import pathlib
import time

import pytest

from benchmarks import run
from benchmarks.cost import jobs, results, rows
from tests.benchmarks import made_up

BASELINE, MTL = "frcnn_mobilenet_baseline", "frcnn_mobilenet_mtl"
STEPS = ["--only", "steps", "--rows", "frcnn_mobilenet_*[el]", "--precision", "float32"]


@pytest.fixture
def carried_out(monkeypatch):
  """Keys of the jobs that were carried out; no process is started."""
  keys = []

  def carry_out(job):
    keys.append(jobs.key(job))
    return made_up.step_result([2], [5])

  monkeypatch.setattr(jobs, "carry_out", carry_out)
  return keys


def test_rows_go_up_and_down_between_the_peers():
  planned = jobs.plan(["steps"], "frcnn_mobilenet_*[el]", ["float32"], [("theirs", "true")])
  assert [jobs.key(job) for job in planned] == [
    "peer/theirs/1",
    f"steps/{BASELINE}/float32/1",
    f"steps/{MTL}/float32/1",
    f"steps/{MTL}/float32/2",
    f"steps/{BASELINE}/float32/2",
    "peer/theirs/2",
  ]
  assert jobs.ROUNDS * jobs.REPEATS_A_ROUND >= 5


def test_plan_of_everything_has_a_key_for_each_job():
  planned = jobs.plan(jobs.SECTIONS, "*", rows.PRECISIONS, [("theirs", "true")])
  assert len({jobs.key(job) for job in planned}) == len(planned)
  assert {job["section"] for job in planned} == {*jobs.SECTIONS, "peer"}


def test_curves_change_what_they_name_and_nothing_else():
  setup = rows.growth_setup("boxes", 250)
  assert setup.num_boxes == 250
  assert setup.override["task"]["train_data"]["max_num_boxes"] == 250
  assert setup.override["task"]["rpn"] == rows.GROWTH_SETUP.override["task"]["rpn"]
  side = rows.growth_setup("side", 640)
  assert (side.height, side.width) == (640, 640)
  assert rows.growth_setup("proposals", 50).override["task"]["rpn"]["num_proposals"] == 50


def test_results_are_in_the_file_and_not_taken_again(tmp_path, carried_out, capsys):
  path = tmp_path / "cost.json"
  assert run.main([*STEPS, "--output", str(path)]) == 0
  assert len(carried_out) == 4
  captured = capsys.readouterr()
  assert f"| {MTL} | float32 | 2.00 | 1.00x |" in captured.out
  assert "inference 2 s, training step 5 s; took 0 s, about 0 min left" in captured.err
  content = json.loads(path.read_text())
  assert content["results"][f"steps/{MTL}/float32/2"]["result"]["infer"]["seconds"] == [2]
  assert {"cpu", "cores", "tensorflow", "date", "seed"} <= content["machine"].keys()
  assert "--only steps" in content["commands"][0]

  carried_out.clear()
  assert run.main([*STEPS, "--output", str(path), "--resume"]) == 0
  assert carried_out == []
  assert len(json.loads(path.read_text())["results"]) == 4


def test_resuming_with_other_settings_measures_again(tmp_path, carried_out):
  path = tmp_path / "cost.json"
  run.main([*STEPS, "--output", str(path)])
  carried_out.clear()
  run.main([*STEPS, "--output", str(path), "--resume", "--small"])
  assert len(carried_out) == 4


def test_failed_measurement_is_reported_and_tried_again(tmp_path, monkeypatch, capsys):
  path, tried = tmp_path / "cost.json", []

  def carry_out(job):
    tried.append(jobs.key(job))
    return {"error": "gone"} if job["name"] == MTL else made_up.step_result([2], [5])

  monkeypatch.setattr(jobs, "carry_out", carry_out)
  assert run.main([*STEPS, "--output", str(path)]) == 1
  assert len(tried) == 4
  captured = capsys.readouterr()
  assert f"* steps/{MTL}/float32/1: gone" in captured.out
  assert "failed: gone" in captured.err

  tried.clear()
  assert run.main([*STEPS, "--output", str(path), "--resume"]) == 1
  assert tried == [f"steps/{MTL}/float32/1", f"steps/{MTL}/float32/2"]


def test_file_that_exists_is_not_overwritten(tmp_path, carried_out, capsys):
  path = tmp_path / "cost.json"
  path.write_text("precious")
  for flags in ([], ["--resume"]):
    with pytest.raises(SystemExit):
      run.main([*STEPS, "--output", str(path), *flags])
  assert "exists; accepted: a new file, or --resume" in capsys.readouterr().err
  assert path.read_text() == "precious"
  assert carried_out == []


def test_results_of_another_machine_are_not_continued(tmp_path, monkeypatch):
  path = tmp_path / "cost.json"
  results.Results(path, ["command"]).add(made_up.peak_job(), {"gflops": 1.0})
  here = results.machine()
  monkeypatch.setattr(results, "machine", lambda: {**here, "cpu": "abacus"})
  with pytest.raises(ValueError, match="measured with cpu"):
    results.Results(path, ["command"], resume=True)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--only", "step"], "--only names 'step'; accepted: steps, parts, growth, labels, peak"),
    (["--precision", "float16"], "--precision names 'float16'; accepted: float32, bfloat16"),
    (["--only", "steps", "--rows", "x"], "--rows: nothing is called 'x'"),
    (["--peer", "theirs"], "--peer is 'theirs'; accepted: NAME=COMMAND"),
    (["--picture", "growth.doc"], "--picture is 'growth.doc'; accepted: a .png"),
  ],
)
def test_flags_that_mean_nothing_are_refused(flags, message, carried_out, capsys):
  with pytest.raises(SystemExit):
    run.main(flags)
  assert message in capsys.readouterr().err
  assert carried_out == []


def _peer(command):
  return jobs.carry_out({"section": "peer", "name": "theirs", "command": command, "round": 1})


def test_peer_is_the_last_line_of_json():
  result = _peer("""echo starting; echo '{"infer_s": 1.5, "train_s": 4}'; echo done""")
  assert result == {"infer_s": 1.5, "train_s": 4}


@pytest.mark.parametrize(
  ("command", "cause"),
  [
    ("echo oops >&2; exit 3", "no line of JSON on stdout, exit status 3: oops"),
    ("""echo '{"infer_s": 1.5, "train_error": "no room"}'""", "no room; accepted: a JSON line"),
    ("""echo '{"train_s": 1.5}'""", "infer_s is None; accepted: a JSON line"),
    ("kill -KILL $$", "ended by SIGKILL; is there too little memory?"),
  ],
)
def test_peer_that_fails_is_reported_with_its_cause(command, cause):
  assert _peer(command)["error"].startswith(cause)


def test_measurement_that_takes_too_long_is_ended(tmp_path, monkeypatch):
  monkeypatch.setattr(jobs, "_TIMEOUT_S", 0.3)
  pid_file = tmp_path / "pid"
  # A shell, and a process that the shell has started.
  result = _peer(f"sleep 60 & echo $! > {pid_file}; wait")
  assert result == {"error": "took more than 0.3 s"}
  status = pathlib.Path(f"/proc/{pid_file.read_text().strip()}/status")
  # A process that was killed ends when it is next run, which a busy machine puts off.
  deadline = time.monotonic() + 20.0
  while _is_alive(status) and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not _is_alive(status)


def _is_alive(status):
  """Whether a process is neither gone nor dead and not yet collected."""
  try:
    return "State:\tZ" not in status.read_text()
  except (FileNotFoundError, ProcessLookupError):
    return False


def test_time_left_goes_by_jobs_of_the_same_kind():
  def job(name, number):
    return {"section": "steps", "name": name, "precision": "float32", "round": number}

  seconds = {("steps", "a", "float32"): [10.0], ("steps", "b", "float32"): [40.0]}
  # 10 of its own kind, and the mean of both for a new one.
  assert run._seconds_left([job("a", 2), job("c", 1)], seconds) == 35.0
