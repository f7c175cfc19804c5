"""Values that a format allows and hardly anybody writes, and JSON that holds them."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

TEXTS = (
  *("", " ", "\t", "0", "-1", "nan", "None", "null", "true", "Unspecified", "background"),
  *("cat", "Cat", "cat ", "dog\n", "größe", "cafe\u0301", "caf\u00e9", "猫", "🐈", "#cat"),
  *("\u200bcat", "c\u202eat", "\ufeffcat", "c\x85at", "c\u2028at", "c\x1b[31mat", "c\x00at"),
  *("a,b", 'a"b', "a'b", "=1+1", "../../x", "/etc/passwd", "C:\\x\\a.jpg", "a/b", ".", "..", "~"),
  *(
    "a" * 300,
    "x" * 100_000,
    "%00",
    "%2e%2e/",
    "\ud800",
    "٣",
    "１２",
    "1_000",
    "1e3",
    "0x10",
    "+5",
  ),
)
NUMBERS = (
  *(0, 1, -1, 2, 3, 7, 39, 40, 41, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1),
  *(2**63, -(2**63), 2**64, 10**40, 0.0, -0.0, 0.5, 1.5, 1e-300, 1e300, 7.0, 1e16, 12.000000001),
)
# Text of numbers, which a parser takes or refuses as it likes.
TOKENS = (
  *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E5", "1e+2", "-0", "-0.0", "0.1e1"),
  *("9" * 400, "0." + "3" * 400, "1" + "0" * 18, "1" + "0" * 19, "01", "+1", ".5", "5.", "0x1F"),
  *("'single'", "nul", "True", "None", "undefined", "/* comment */ 1", "1 // comment\n"),
)


class Token(str):
  """Text that is written as it stands, in the place of a value."""


class Members(list):
  """Pairs of key and value of an object, in which a key may repeat."""


def odd_value(rng: random.Random, tokens: Sequence[str] = TOKENS, depth: int = 2) -> Any:
  """Any value of JSON, and tokens that are none."""
  choice = rng.randrange(10 if depth else 7)
  if choice < 2:
    return rng.choice(TEXTS)
  if choice < 5:
    return rng.choice(NUMBERS)
  if choice == 5:
    return rng.choice((None, True, False, [], {}))
  if choice == 6:
    return Token(rng.choice(tokens))
  values = [odd_value(rng, tokens, depth - 1) for _ in range(rng.randrange(4))]
  return values if choice < 9 else {rng.choice(TEXTS): value for value in values}


def nested(rng: random.Random, levels: int) -> Token:
  """Lists or objects in each other, some of which do not end."""
  begin, end = rng.choice((("[", "]"), ('{"a":', "}"), ("[[],", "]")))
  closed = rng.choice((levels, levels, levels - 1, 0))
  return Token(begin * levels + "1" + end * closed)


def as_members(value: Any) -> Any:
  """JSON's value with pairs in the place of objects, so that keys can be repeated."""
  if isinstance(value, dict):
    return Members((key, as_members(inner)) for key, inner in value.items())
  if isinstance(value, list):
    return [as_members(inner) for inner in value]
  return value


def mutate(rng: random.Random, root: Any, tokens: Sequence[str] = TOKENS) -> Any:
  """Changes a value of `as_members` in one place, and gives it back."""
  holder = rng.choice(list(_holders(root)) or [[root]])
  if not holder:
    return root
  place = rng.randrange(len(holder))
  is_members = isinstance(holder, Members)
  old = holder[place][1] if is_members else holder[place]
  choice = rng.randrange(7)
  if choice == 0:
    del holder[place]
  elif choice == 1:
    holder.insert(rng.randrange(len(holder) + 1), holder[place])
  elif choice == 2:
    other = rng.randrange(len(holder))
    holder[place], holder[other] = holder[other], holder[place]
  elif choice == 3 and is_members:
    key = rng.choice((rng.choice(TEXTS), rng.choice(holder)[0]))
    holder[place] = (key, old)
  elif choice == 4 and is_members:
    holder.append((holder[place][0], odd_value(rng, tokens)))
  else:
    new = _other_type(old) if choice == 5 else odd_value(rng, tokens)
    if rng.random() < 0.05:
      new = nested(rng, rng.choice((3, 50, 1000, 4000)))
    holder[place] = (holder[place][0], new) if is_members else new
  return root


def dumps(value: Any, rng: random.Random | None = None) -> str:
  """The value as JSON; with `rng`, non-ASCII characters are escaped or not."""
  if isinstance(value, Token):
    return str(value)
  if isinstance(value, Members | dict):
    pairs = value.items() if isinstance(value, dict) else value
    return "{" + ", ".join(f"{_text(key, rng)}: {dumps(v, rng)}" for key, v in pairs) + "}"
  if isinstance(value, list | tuple):
    return "[" + ", ".join(dumps(inner, rng) for inner in value) + "]"
  return _text(value, rng) if isinstance(value, str) else json.dumps(value)


def encode(rng: random.Random, text: str) -> bytes:
  """Text as bytes: UTF-8 nearly always, with lone surrogates as they are."""
  encoding = rng.choice(("utf-8",) * 60 + ("utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"))
  errors = "replace" if encoding == "latin-1" else "surrogatepass"
  return text.encode(encoding, errors)


def _holders(value: Any) -> Iterator[list]:
  """All lists and objects."""
  if isinstance(value, list):
    if value:
      yield value
    for inner in value:
      yield from _holders(inner[1] if isinstance(value, Members) else inner)


def _other_type(value: Any) -> Any:
  if isinstance(value, str):
    return Token(value) if value.replace(".", "").isdecimal() else [value]
  if isinstance(value, int | float):
    return str(value)
  return str(value) if isinstance(value, bool) or value is None else [value]


def _text(value: str, rng: random.Random | None) -> str:
  return json.dumps(value, ensure_ascii=rng is None or rng.random() < 0.5)
