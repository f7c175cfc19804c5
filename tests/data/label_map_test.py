"""Tests of reading and writing label maps."""

import pytest

from mtl_ssl_tf.data import label_map


def _read(tmp_path, content: bytes) -> list[str]:
  path = tmp_path / "classes.txt"
  path.write_bytes(content)
  return label_map.read_label_map(path)


def test_line_i_is_class_i():
  assert label_map.label_map_text(["dog", "cat"]) == "dog\ncat\n"


def test_reads_what_it_writes(tmp_path):
  classes = ["traffic light", "Zebra", "Möwe"]
  assert _read(tmp_path, label_map.label_map_text(classes).encode()) == classes


def test_windows_files_and_a_missing_last_line_end(tmp_path):
  assert _read(tmp_path, b"\xef\xbb\xbfdog\r\ncat") == ["dog", "cat"]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "classes.txt: no classes; accepted: one class name a line"),
    (b"dog\n\ncat\n", "classes.txt: line 2: ''; accepted: a class name without blanks around it"),
    (b"dog \n", "classes.txt: line 1: 'dog '; accepted: a class name without blanks around it"),
    (b"dog\tx\n", r"classes.txt: line 1: 'dog\\tx'; accepted: a class name of printable"),
    (b"# animals\ndog\n", "classes.txt: line 1: '# animals'; accepted: .*no comments"),
    (b"Background\ndog\n", "classes.txt: line 1: 'Background'; accepted: .* class 0"),
    (b"dog\n__background__\n", "classes.txt: line 2: '__background__'; accepted: .* class 0"),
    (b"_background_\n", "classes.txt: line 1: '_background_'; accepted: .* class 0"),
    (b"dog\ncat\ndog\n", "classes.txt: line 3: 'dog' repeats line 1; accepted: each class once"),
    (b"\xff\xfe", "classes.txt: not a UTF-8 text file .*; accepted: a text file with one class"),
  ],
)
def test_faulty_files_are_refused(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    _read(tmp_path, content)


def test_missing_file_is_refused(tmp_path):
  message = "nowhere.txt: cannot be read .No such file or directory.; accepted: a text file"
  with pytest.raises(ValueError, match=message):
    label_map.read_label_map(tmp_path / "nowhere.txt")


def test_faulty_classes_are_not_written():
  with pytest.raises(ValueError, match="classes: line 2: 'dog' repeats line 1"):
    label_map.label_map_text(["dog", "dog"])
