"""A few cases of each kind, and a campaign in which everything goes wrong."""

import os
import pathlib
import random
import re
import signal
import subprocess
import sys

import pytest

from tests.fuzz import kinds, mutations, odd_values, outcomes, worker
from tests.fuzz.kinds import base

_REPOSITORY = pathlib.Path(__file__).parents[2]


def run(*arguments: str) -> tuple[int, str]:
  """Exit status and output of the command."""
  command = [sys.executable, "-m", "tests.fuzz", *arguments]
  done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
  return done.returncode, done.stdout + done.stderr


def test_every_wrong_end_is_counted_and_kept(tmp_path):
  status, output = run("--kinds", "faulty", "--cases=40", f"--output_dir={tmp_path}")
  assert status == 1
  columns, counts = (re.split(" +", line) for line in output.splitlines()[:2])
  found = dict(zip(columns, counts, strict=False))
  assert found["cases"] == "40"
  assert all(int(found[end]) > 0 for end in (outcomes.ACCEPTED, *outcomes.FAILURES)), output
  assert "40 cases" in output
  command = re.findall(r"--rerun (\S+)\n", output.partition("faulty: otherwise")[2])[0]
  status, output = run("--rerun", command)
  assert status == 1
  assert re.match(r"faulty case \d+ of seed 0: otherwise\n", output)
  assert "DisagreementError: a number: the package has 1, the plain reading 2" in output


@pytest.mark.parametrize("name", kinds.MODULES)
def test_a_few_cases(name, tmp_path, request):
  kind_class = kinds.load(name)
  prepared = tmp_path / "prepared"
  prepared.mkdir()
  if name == "requests":
    exported = pathlib.Path(request.getfixturevalue("tiny_export")[0]).parent
    (prepared / "export").symlink_to(exported)
  else:
    kind_class.prepare(prepared)
  kind = kind_class(prepared, tmp_path / "scratch")
  cases = [kind.seeds()[0], *(worker.case_files(kind, 0, number) for number in range(5))]
  ends = [outcomes.judge(lambda files=files: kind.check(files)) for files in cases]
  assert ends[0].status == outcomes.ACCEPTED, ends[0].text
  for number, end in enumerate(ends[1:]):
    assert end.status not in outcomes.FAILURES, f"case {number}: {end.text}"
  assert worker.case_files(kind, 0, 3) == cases[4]


def test_a_plain_reading_does_not_count():
  signal.setitimer(signal.ITIMER_PROF, 1000.0)
  try:
    with pytest.raises(outcomes.DisagreementError), base.untimed():
      assert signal.getitimer(signal.ITIMER_PROF)[0] == 0.0
      outcomes.check(False, "pixels")
    assert 0.0 < signal.getitimer(signal.ITIMER_PROF)[0] <= 1001.0
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0.0)


def test_bytes_are_changed_in_many_ways():
  seeds = [bytes(range(100)), b"another"]
  made = {mutations.mutate(random.Random(number), seeds, [b"WORD"]) for number in range(300)}
  assert len(made) > 250
  assert {len(content) < 50 for content in made} == {True, False}
  assert any(b"WORD" in content for content in made)


def test_values_are_changed_in_many_ways():
  value = {"a": [1, {"b": "x"}], "c": None}
  made = set()
  for number in range(300):
    rng = random.Random(number)
    made.add(odd_values.dumps(odd_values.mutate(rng, odd_values.as_members(value))))
  assert len(made) > 100
  assert any(text.count('"a": ') == 2 for text in made)


def test_errors_of_the_package_are_told_from_others(tmp_path):
  from mtl_ssl_tf.data import label_map

  def judged(function):
    return outcomes.judge(function).status

  assert judged(lambda: label_map.read_label_map(tmp_path / "missing")) == outcomes.REFUSED
  assert judged(lambda: label_map.label_map_text([7])) == outcomes.TRACEBACK
  assert judged(lambda: int("x")) == outcomes.TRACEBACK
  assert judged(lambda: os.stat(tmp_path / "missing")) == outcomes.TRACEBACK
