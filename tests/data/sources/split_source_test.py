"""Tests of what is remarkable about a split as a whole."""

import types

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import split_source

_REMARK = split_source.Remark("other", False, faults.Fault("a", "b", "c", "d"))


def _remarks(*classes: str) -> list[split_source.Remark]:
  source = types.SimpleNamespace(split="train", classes=classes or None, remarks=(_REMARK,))
  return split_source.remarks(source)


def test_classes_that_differ_by_case_or_blanks():
  found = _remarks("traffic light", "cat", "Straße", "trafficlight", "cow", "CAT", "STRASSE")
  assert found[0] == _REMARK
  assert [(remark.kind, remark.is_warning) for remark in found[1:]] == [("classes_alike", True)] * 3
  assert [str(remark.fault) for remark in found[1:]] == [
    f"train: classes: {names} differ by case or blanks; accepted: one spelling of each class"
    for names in ("'traffic light', 'trafficlight'", "'cat', 'CAT'", "'Straße', 'STRASSE'")
  ]


def test_classes_that_differ_otherwise_or_are_not_known():
  for classes in ((), ("cat", "cats", "c-at")):
    assert _remarks(*classes) == [_REMARK]
