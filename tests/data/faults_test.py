"""Tests of the sentences that name faults."""

from mtl_ssl_tf.data import faults


def test_a_fault_names_file_object_field_value_and_what_is_accepted():
  fault = faults.Fault("Annotations/a.xml", "difficult", "'2'", "0 or 1", 3, "'cat'")
  assert str(fault) == "Annotations/a.xml: object 3 ('cat') difficult: '2'; accepted: 0 or 1"


def test_a_fault_of_a_file_or_of_a_nameless_object():
  assert (
    str(faults.Fault("a.jpg", "image", "empty", "more")) == "a.jpg: image: empty; accepted: more"
  )
  fault = faults.Fault("a.xml", "name", "missing", "a name", 1)
  assert str(fault) == "a.xml: object 1 name: missing; accepted: a name"


def test_an_error_lists_all_faults():
  found = [faults.Fault("a", "b", "c", "d"), faults.Fault("e", "f", "g", "h")]
  error = faults.FaultError(found)
  assert str(error) == "a: b: c; accepted: d\ne: f: g; accepted: h"
  assert error.faults == tuple(found)


def test_quoted_text_is_short_and_harmless():
  assert faults.quote("cat\x1b[2J\n") == r"'cat\x1b[2J\n'"
  assert faults.quote("a" * 5000) == "'" + "a" * 198 + "…"


def test_names_are_harmless():
  fault = faults.Fault("a\x1b[2J\n.xml", "x\ny", "'2'", "a \u202e")
  assert str(fault) == r"a\x1b[2J\n.xml: x\ny: '2'; accepted: a \u202e"
  assert faults.FaultError([fault, fault]).lines == (str(fault), str(fault))
  assert faults.listing(["a\nb", "c"]) == r"a\nb, c"


def test_listing_is_short():
  assert faults.listing(["a", "b"]) == "a, b"
  assert faults.listing([]) == "nothing"
  assert faults.listing([str(i) for i in range(23)]).endswith("18, 19 and 3 more")


def test_of_many_faults_the_first_of_each_kind_are_listed_and_the_others_counted():
  found = [faults.Fault("a.json", f"image {i} width", str(i), "40") for i in range(3000)]
  found.append(faults.Fault("a.json", "bbox/x", "NaN", "a number", 7, "'cat'"))
  lines = faults.digest(found)
  assert lines[:2] == [
    "a.json: image 0 width: 0; accepted: 40",
    "a.json: image 1 width: 1; accepted: 40",
  ]
  assert lines[-2:] == [str(found[-1]), "image_width: 2980 more faults of this field"]
  assert len(lines) == 22
  assert str(faults.FaultError(found)).splitlines() == lines
  assert faults.digest([]) == []
