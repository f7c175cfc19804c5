"""Tests of finding names and pictures that were there before."""

import dataclasses

import numpy as np

from mtl_ssl_tf.data.inspection import checks, repetitions, validation_report


def _image(source_id, encoded, record, *findings) -> validation_report.Inspected:
  facts = checks.ImageFacts("t.tfrecord", source_id, 9, 9, np.zeros([0, 4]), [], [], [], [], record)
  return validation_report.Inspected(f"{source_id} (r {record})", facts, findings, encoded)


def _findings(*images) -> list[list[str]]:
  results = list(repetitions.Repetitions().add_findings(images))
  assert [inspected.name for inspected in results] == [inspected.name for inspected in images]
  return [[f"{f.level} {f.kind}: {f}" for f in inspected.findings] for inspected in results]


def test_names_and_pictures():
  assert _findings(_image("a", b"1", 0), _image("a", b"2", 1), _image("b", b"1", 2)) == [
    [],
    [
      "fault duplicate_source_id: t.tfrecord, record 1: source_id: is that of 'a (r 0)' too;"
      " accepted: each name once"
    ],
    [
      "warning duplicate_image: t.tfrecord, record 2: image: is that of 'a (r 0)' too, bit by bit;"
      " accepted: each image once"
    ],
  ]


def test_each_refers_to_the_first():
  texts = _findings(*[_image("a", bytes([i]), i) for i in range(3)])
  assert ["'a (r 0)'" in text for found in texts for text in found] == [True, True]


def test_other_findings_stay_in_front():
  finding = checks.Finding("k", checks.WARNING, "t.tfrecord", "f", "v", "a")
  texts = _findings(_image("a", b"1", 0), _image("b", b"1", 1, finding))
  assert [text.split(":")[0] for text in texts[1]] == ["warning k", "warning duplicate_image"]


def test_images_that_cannot_be_used_or_have_no_name_repeat_nothing():
  unusable = validation_report.Inspected("x", None, (), b"1")
  assert _findings(unusable, unusable, _image("", b"1", 2), _image("", b"2", 3)) == [[], [], [], []]


def test_names_that_are_no_text():
  texts = _findings(_image("\udcff", b"1", 0), _image("\udcff", b"2", 1), _image("\ud800", b"3", 2))
  assert [len(found) for found in texts] == [0, 1, 0]


def test_across_splits_names_may_repeat_and_pictures_are_counted():
  seen = repetitions.Repetitions()
  for split, images in (("train", b"1235"), ("val", b"42135"), ("test", b"4")):
    inspected = [
      dataclasses.replace(_image(str(number), bytes([content]), number), split=split)
      for number, content in enumerate(images)
    ]
    assert [image.findings for image in seen.add_findings(inspected)] == [()] * len(images)
  assert [f"{found.level} {found.kind}: {found}" for found in seen.shared_pictures()] == [
    "warning picture_in_two_splits: val: pictures: that are in train too, by content: 4: '1 (r 1)'"
    " ('1 (r 1)' there), '2 (r 2)' ('0 (r 0)' there), '3 (r 3)' ('2 (r 2)' there) and 1 more;"
    " accepted: each picture in one split",
    "warning picture_in_two_splits: test: pictures: that are in val too, by content: 1: '0 (r 0)'"
    " ('0 (r 0)' there); accepted: each picture in one split",
  ]
