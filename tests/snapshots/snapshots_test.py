"""Whole paths through the package come to the numbers that are kept of them."""

import pytest

from tests.snapshots import scenarios, summary


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_numbers(name, tmp_path):
  lines = summary.differences(scenarios.numbers(name, tmp_path), scenarios.kept(name))
  again = f"python -m tests.snapshots {name}"
  assert not lines, f"{len(lines)} differ; if that is meant, {again}\n" + "\n".join(lines[:40])


def test_every_file_belongs_to_a_scenario():
  assert sorted(path.stem for path in scenarios.VALUES.iterdir()) == sorted(scenarios.NAMES)
