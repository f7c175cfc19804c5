"""Which annotations the protocols erase, by hand and for any image."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.data.sparse import protocols as sparse_protocols

# Any order of these is the order of their first letter.
A, B, C, D, E = (bytes([letter]) * 32 for letter in b"abcde")


def erased(name, keys, classes=None, **options):
  protocol = sparse_protocols.Protocol(name, **options)
  return protocol.erased_in_image(keys, classes or [1] * len(keys))


class TestRankKey:
  def test_is_the_digest_of_the_names(self):
    expected = hashlib.sha256(b"7/000139/482").digest()
    assert sparse_protocols.rank_key(7, b"000139", 482) == expected
    # What `printf 0/img_1/0 | sha256sum` begins with.
    assert sparse_protocols.rank_key(0, b"img_1", 0).hex().startswith("b7d8cb2ca604585a")

  @settings(max_examples=50, deadline=None, derandomize=True, database=None)
  @given(ids=st.lists(st.integers(0, 2**40), min_size=2, unique=True), seed=st.integers(0, 9))
  def test_sorts_like_its_text(self, ids, seed):
    keys = [sparse_protocols.rank_key(seed, b"x", annotation_id) for annotation_id in ids]
    assert [key.hex() for key in sorted(keys)] == sorted(key.hex() for key in keys)

  def test_seed_image_and_annotation_count(self):
    names = [(0, b"a", 1), (1, b"a", 1), (0, b"b", 1), (0, b"a", 2)]
    assert len({sparse_protocols.rank_key(*name) for name in names}) == 4


class TestErasedInImage:
  @pytest.mark.parametrize(
    ("name", "one", "two", "three", "five"),
    [
      ("easy", set(), {1}, {2}, {3}),
      ("hard", set(), {1}, {2}, {3, 0}),
      ("extreme", set(), {1}, {2, 0}, {3, 0, 4, 2}),
    ],
  )
  def test_the_smallest_keys_go_first(self, name, one, two, three, five):
    assert erased(name, []) == set()
    assert erased(name, [C]) == one
    assert erased(name, [B, A]) == two
    assert erased(name, [B, C, A]) == three
    assert erased(name, [B, E, D, A, C]) == five

  def test_strict_takes_the_only_one(self):
    assert erased("easy", [C], one_box="strict") == {0}
    assert erased("easy", [], one_box="strict") == set()
    assert erased("easy", [C, B], one_box="strict") == {1}

  def test_keep1_keeps_the_first_of_each_class(self):
    assert erased("keep1", [D, A, C, B, E], [1, 2, 1, 2, 3]) == {0, 3}
    assert erased("keep1", [A], [4]) == set()
    assert erased("keep1", [], []) == set()

  @settings(max_examples=100, deadline=None, derandomize=True, database=None)
  @given(count=st.integers(0, 40), seed=st.integers(0, 5))
  def test_sets_are_nested_and_of_the_stated_size(self, count, seed):
    keys = [sparse_protocols.rank_key(seed, b"image", i) for i in range(count)]
    easy, hard, extreme = (erased(name, keys) for name in ("easy", "hard", "extreme"))
    assert [len(easy), len(hard), len(extreme)] == [
      min(1, max(count - 1, 0)),
      count // 2,
      max(count - 1, 0),
    ]
    if count >= 2:
      assert easy <= hard <= extreme

  def test_order_of_the_annotations_does_not_matter(self):
    keys = [B, E, D, A, C]
    for name in ("easy", "hard", "extreme", "keep1"):
      forward = {keys[place] for place in erased(name, keys)}
      assert forward == {keys[::-1][place] for place in erased(name, keys[::-1])}


class TestMiss:
  @pytest.mark.parametrize(
    ("share", "count", "expected"),
    # 0.29 × 100 is 28.999… in floating point.
    [("0.5", 7, 3), ("0.29", 100, 29), ("1/3", 9, 3), ("0", 9, 0), ("1", 9, 9), (0.7, 10, 7)],
  )
  def test_share_is_rounded_down_and_exact(self, share, count, expected):
    assert sparse_protocols.Protocol("miss", share=share).num_missing(count) == expected


class TestProtocol:
  @pytest.mark.parametrize(
    ("options", "title"),
    [
      ({"name": "hard"}, "hard"),
      ({"name": "easy", "one_box": "strict"}, "easy_strict"),
      ({"name": "miss", "share": "0.5"}, "50miss"),
      ({"name": "miss", "share": "0.125", "seed": 2}, "12.5miss_seed2"),
    ],
  )
  def test_title(self, options, title):
    assert sparse_protocols.Protocol(**options).title == title

  @pytest.mark.parametrize(
    ("options", "message"),
    [
      ({"name": "medium"}, "--protocol is medium; accepted: easy, hard, extreme, keep1, miss"),
      ({"name": "hard", "seed": -1}, "--seed is -1; accepted: a whole number from 0 on"),
      ({"name": "hard", "seed": True}, "--seed is True; accepted: a whole number from 0 on"),
      ({"name": "hard", "seed": 1.5}, "--seed is 1.5; accepted: a whole number from 0 on"),
      ({"name": "hard", "one_box": "no"}, "--one_box is no; accepted: keep-one, strict"),
      (
        {"name": "hard", "one_box": "strict"},
        "--one_box is strict; accepted: --protocol easy; hard has no use for it",
      ),
      (
        {"name": "easy", "share": "0.5"},
        "--share is 0.5; accepted: --protocol miss, not easy",
      ),
      ({"name": "miss"}, "--share is missing: accepted with --protocol miss: 0 … 1, e.g. 0.5"),
    ],
  )
  def test_bad_settings(self, options, message):
    with pytest.raises(ValueError) as error:
      sparse_protocols.Protocol(**options)
    assert str(error.value) == message

  @pytest.mark.parametrize("share", ["1.01", "-0.1", "half", "nan", "inf", "1/0", "", "50%"])
  def test_bad_share(self, share):
    with pytest.raises(ValueError, match=r"^--share .*: accepted with --protocol miss: 0 … 1"):
      sparse_protocols.Protocol("miss", share=share)
