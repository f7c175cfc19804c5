"""Tests of the names in lists, and of drawing splits."""

import pytest

from mtl_ssl_tf.data.sources import voc_split


def _names(text: str, known: str = "", every: bool = False) -> list[tuple[int, str, bool]]:
  lines = voc_split.names(text.encode(), known.split(",").__contains__, "images", every=every)
  return list(lines)


class TestLines:
  @pytest.mark.parametrize(
    ("line", "name"),
    [
      ("a", "a"),
      ("  a \r", "a"),
      ("a.jpg", "a"),
      ("a.JPEG", "a"),
      ("a.xml", "a"),
      ("a.b", "a.b"),
      ("a.b.png", "a.b"),
      ("cam1/day1/f1", "cam1/day1/f1"),
      ("cam1\\f1.jpg", "cam1/f1"),
      ("images/a.jpg", "a"),
      ("./a", "a"),
      ("a.jpg 1", "a"),
      ("a  0", "a"),
      ("scan 7", "scan 7"),
      ("scan 7.jpg 1", "scan 7"),
    ],
  )
  def test_name(self, line, name):
    assert _names(line) == [(1, name, False)]

  def test_names_of_files_come_first(self):
    assert _names("scan 1\na.jpg\nx -1\nimages/b", "scan 1,a.jpg,x -1,images/b") == [
      (1, "scan 1", False),
      (2, "a.jpg", False),
      (3, "x -1", False),
      (4, "images/b", False),
    ]

  def test_minus_one_is_left_out_unless_every_name_counts(self):
    text = "\ufeffa.jpg -1\n\nb 1\n"
    assert _names(text) == [(3, "b", False)]
    assert _names(text, every=True) == [(1, "a", False), (3, "b", False)]

  @pytest.mark.parametrize("line", ["/home/me/f1.jpg", "C:\\data\\f1.jpg 1", "../f1"])
  def test_the_end_of_a_path_counts_where_there_is_no_file(self, line):
    def by_end(path):
      return "f1" if path.endswith("/f1") else None

    lines = voc_split.names(line.encode(), ["f1"].__contains__, "images", by_end=by_end)
    assert list(lines) == [(1, "f1", True)]
    lines = voc_split.names(b"images/f1.jpg\nx/f2", ["f1"].__contains__, "images", by_end=by_end)
    assert list(lines) == [(1, "f1", False), (2, "x/f2", False)]

  def test_lists_of_single_classes(self):
    assert voc_split.has_flags_only(b"a 1\n\nb.jpg -1\n")
    assert not voc_split.has_flags_only(b"a 1\nb\n")
    assert not voc_split.has_flags_only(b"\n")

  @pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", ".", "..", "a\0"])
  def test_names_that_lead_out(self, name):
    assert voc_split.problem(name)
    assert not voc_split.problem("cam1/a..b")


class TestShares:
  def test_an_image_stays_in_its_split(self):
    shares = voc_split.Shares.parse("train=0.8,val=0.2")
    drawn = [shares.split(f"image{number}") for number in range(1000)]
    assert drawn.count("train") == pytest.approx(800, abs=40)
    assert set(drawn) == {"train", "val"}
    other_order = voc_split.Shares.parse(" val=0.2, train=0.8")
    assert [other_order.split(f"image{number}") for number in range(1000)] == drawn
    other_seed = voc_split.Shares.parse("train=0.8,val=0.2", seed=1)
    assert [other_seed.split(f"image{number}") for number in range(1000)] != drawn

  def test_each_of_several_splits_has_its_share(self):
    shares = voc_split.Shares.parse("train=0.6,val=0.3,test=0.1")
    drawn = [shares.split(f"image{number}") for number in range(2000)]
    for name, share in (("train", 0.6), ("val", 0.3), ("test", 0.1)):
      assert drawn.count(name) == pytest.approx(2000 * share, abs=80)

  def test_thirds_need_not_be_exact(self):
    text = "a=0.3333333,b=0.3333333,c=0.3333333"
    assert [name for name, _ in voc_split.Shares.parse(text).shares] == ["a", "b", "c"]

  def test_one_split_has_all(self):
    shares = voc_split.Shares.parse("all=1")
    assert {shares.split(f"image{number}") for number in range(9)} == {"all"}

  @pytest.mark.parametrize(
    "text",
    [
      "train",
      "train=x",
      "train=0.8,val=0.3",
      "train=0.8,val=0.2001",
      "train=1,val=0",
      "=1",
      "a=0.5,a=0.5",
      "a=nan",
    ],
  )
  def test_other_text(self, text):
    with pytest.raises(ValueError, match=f"--split_share is {text}; accepted: splits with shares"):
      voc_split.Shares.parse(text)
