"""Changes to bytes that need not know what they mean."""

import random
from collections.abc import Callable, Sequence

_MAX_CHANGES = 4
_MAX_BLOCK = 64
# Bytes that parsers treat in a way of their own.
_WORDS = (
  *(b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"),
  *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J"),
  *(b"\r", b"\n", b"\r\n", b"\t", b"\x0b", b"\x85", b" ", b"-", b"0", b"9" * 30, b"1e999", b"nan"),
)


def mutate(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
  """One of the seeds after some changes.

  Args:
    rng: decides about everything.
    seeds: whole files.
    words: pieces of the format, which are put in besides those of all formats.
  """
  data = rng.choice(seeds)
  for _ in range(rng.randint(1, _MAX_CHANGES)):
    change = rng.choice(_CHANGES)
    data = change(rng, data, seeds, (*_WORDS, *words))
  return data


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
  """Begin and end of a block, which is short as a rule."""
  begin = rng.randrange(len(data) + 1)
  length = rng.randint(1, _MAX_BLOCK) if rng.random() < 0.8 else rng.randint(0, len(data))
  return begin, min(begin + length, len(data))


def _flip_bit(rng, data, seeds, words):
  del seeds, words
  if not data:
    return data
  place = rng.randrange(len(data))
  return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _set_byte(rng, data, seeds, words):
  del seeds, words
  place = rng.randrange(len(data) + 1)
  return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _cut(rng, data, seeds, words):
  del seeds, words
  return data[: rng.randrange(len(data) + 1)]


def _delete(rng, data, seeds, words):
  del seeds, words
  begin, end = _span(rng, data)
  return data[:begin] + data[end:]


def _duplicate(rng, data, seeds, words):
  del seeds, words
  begin, end = _span(rng, data)
  return data[:begin] + data[begin:end] * rng.choice((2, 2, 2, 3, 50)) + data[end:]


def _splice(rng, data, seeds, words):
  del words
  other = rng.choice(seeds)
  return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _insert(rng, data, seeds, words):
  del seeds
  place = rng.randrange(len(data) + 1)
  return data[:place] + rng.choice(words) + data[place:]


def _replace(rng, data, seeds, words):
  del seeds
  word, place = rng.choice(words), rng.randrange(len(data) + 1)
  return data[:place] + word + data[place + len(word) :]


_CHANGES: tuple[Callable[..., bytes], ...] = (
  *(_flip_bit, _flip_bit, _set_byte, _cut, _delete, _duplicate, _splice, _insert, _replace),
)
