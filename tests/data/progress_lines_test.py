"""Tests of progress.py."""

from mtl_ssl_tf.data import progress_lines


def test_lines_come_every_few_seconds(monkeypatch):
  # Started at 0 s; the pieces end at 1, 4, 5, 6 and 10 s.
  seconds = iter([0.0, 1.0, 4.0, 5.0, 6.0, 10.0])
  monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
  said = []
  line = progress_lines.Progress("counting", 8, said.append)
  for _ in range(5):
    line.step()
  assert said == ["counting: 2/8, 0.5 a second, 12 s left", "counting: 5/8, 0.5 a second, 6 s left"]


def test_great_speed_has_no_decimals(monkeypatch):
  seconds = iter([0.0, 0.1, 4.0])
  monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
  said = []
  line = progress_lines.Progress("counting", 100, said.append)
  line._done = 59
  line.step()
  assert said == []
  line.step()
  assert said == ["counting: 61/100, 15 a second, 3 s left"]


def test_skipped_pieces_count_as_done_but_not_as_speed(monkeypatch):
  seconds = iter([0.0, 4.0, 5.0])
  monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(seconds))
  said = []
  line = progress_lines.Progress("counting", 100, said.append)
  line.skip(60)
  line.step(0)
  line.step(20)
  assert said == ["counting: 80/100, 4.0 a second, 5 s left"]


def test_a_total_that_is_not_known_or_too_small(monkeypatch):
  for total, line in (
    (None, "counting: 2, 0.5 a second"),
    (1, "counting: 2/1, 0.5 a second, 0 s left"),
  ):
    seconds = iter([0.0, 1.0, 4.0])
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda seconds=seconds: next(seconds))
    said = []
    lines = progress_lines.Progress("counting", total, said.append)
    lines.step()
    lines.step()
    assert said == [line]
