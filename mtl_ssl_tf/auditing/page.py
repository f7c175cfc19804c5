"""The page of an audit: candidates with their pictures, to be accepted or rejected one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf import web_page
from mtl_ssl_tf.auditing import candidates, listing, script
from mtl_ssl_tf.reporting import script as report_script
from mtl_ssl_tf.reporting import style
from mtl_ssl_tf.web_page import escape

_CSS = """
.cards .card { scroll-margin: 0.5rem 0 7rem; }
.card[aria-current] { outline: 3px solid var(--accent); outline-offset: 1px; }
.card:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
.card[data-decision=accept] { box-shadow: inset 0 0 0 3px var(--good); }
.card[data-decision=reject] { box-shadow: inset 0 0 0 3px var(--bad); }
.card[data-decision=reject] img { opacity: 0.45; }
.choice { display: grid; grid-template-columns: 1fr 1fr; gap: 0.6rem; margin-top: 0.6rem; }
.choice button, #actions button, #actions .file { font: inherit; min-height: 2.75rem;
  border-radius: 0.4rem; border: 1px solid var(--faint); background: var(--paper);
  color: var(--ink); cursor: pointer; padding: 0.3rem 0.9rem; }
.choice button[aria-pressed=true][data-decision=accept] { background: var(--good);
  color: var(--paper); }
.choice button[aria-pressed=true][data-decision=reject] { background: var(--bad);
  color: var(--paper); }
#actions { position: sticky; bottom: 0; display: flex; flex-wrap: wrap; gap: 0.6rem 1rem;
  align-items: center; padding: 0.6rem 0; background: var(--paper);
  border-top: 1px solid var(--line); z-index: 1; }
#actions[hidden] { display: none; }
#actions .file { display: inline-flex; align-items: center; }
#actions .file input { position: absolute; opacity: 0; width: 1px; height: 1px; }
#actions .file:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
kbd { border: 1px solid var(--line); border-radius: 0.25rem; padding: 0 0.3rem;
  background: var(--panel); }
.legend .proposed { border-color: #46dc82; }
.legend .doubted { border-style: dashed; border-color: #ff5a50; }
"""
_TITLES = {
  candidates.MISSING: "object without a box",
  candidates.WRONG_CLASS: "wrong class",
  candidates.BADLY_PLACED: "badly placed",
  candidates.NOTHING: "nothing there",
}
_DONE = {
  candidates.MISSING: "Accepted, the green box is added.",
  candidates.WRONG_CLASS: "Accepted, the box gets the other class.",
  candidates.BADLY_PLACED: "Accepted, the green box takes the place of the red one.",
  candidates.NOTHING: "Accepted, the box is left out.",
}
_LEGEND = (
  '<p class="legend"><span><i class="given"></i>given</span>'
  '<span><i class="doubted"></i>given, and in doubt</span>'
  '<span><i class="proposed"></i>proposed</span></p>'
)


def page(
  title: str,
  fingerprint: str,
  shown: Sequence[listing.Row],
  pictures: Mapping[str, bytes],
  about: Mapping[str, Any],
  num_listed: int,
) -> bytes:
  """Returns the file.

  Args:
    title: text.
    fingerprint: of the annotations, under which the browser keeps the decisions.
    shown: rows of the list, best first.
    pictures: JPEG of each row that has one, by its id.
    about: how the list was made.
    num_listed: rows of the whole list.
  """
  names = sorted({name for row in shown for name in _classes(row)})
  numbers = {name: number for number, name in enumerate(names)}
  cards = [_card(row, numbers, pictures.get(row["id"])) for row in shown]
  more = f", the best of {num_listed}" if num_listed > len(shown) else ""
  parts = [
    f"<header><h1>{escape(title)}</h1>"
    f'<p class="lead">{len(shown)} candidates{more}, the most probable first. Keys: <kbd>j</kbd>'
    " next, <kbd>k</kbd> back, <kbd>a</kbd> accept, <kbd>r</kbd> reject, <kbd>u</kbd> undo."
    " This browser keeps the decisions; save them to a file to correct the annotations with"
    " <code>--accept</code>, or to go on in another browser.</p>"
    f"{_LEGEND}</header><main>",
    _controls(numbers),
    f'<div class="cards" id="candidates" data-annotations="{escape(fingerprint)}">'
    f"{''.join(cards)}</div>",
    "" if cards else "<p>There is no candidate.</p>",
    '<div id="actions" hidden><button type="button" id="save">Save decisions</button>'
    '<label class="file">Load decisions<input type="file" id="load" accept=".json"></label>'
    '<output id="counts"></output><output id="message" aria-live="polite"></output></div>',
    "<section><h2>How it was made</h2>",
    web_page.table(["what", "value"], [*_about(about)], "How it was made"),
    "</section></main>",
  ]
  both = report_script.JAVASCRIPT + script.JAVASCRIPT
  return web_page.page(title, parts, style.CSS + _CSS, both)


def _about(about: Mapping[str, Any]) -> list[tuple[str, str]]:
  rows = []
  for name, value in about.items():
    if isinstance(value, Mapping):
      value = ", ".join(f"{key} {text}" for key, text in value.items())
    elif isinstance(value, list):
      value = ", ".join(map(str, value))
    rows.append((name.replace("_", " "), str(value)))
  return rows


def _classes(row: listing.Row) -> set[str]:
  return {name for name in (row["class"], row["given_class"]) if name is not None}


def _controls(numbers: Mapping[str, int]) -> str:
  options = {
    "kinds": ("Kind", {"": "any", **_TITLES}),
    "classes": ("Class", {"": "any", **{str(number): name for name, number in numbers.items()}}),
    "decision": (
      "Decision",
      {"": "any", "open": "open", listing.ACCEPT: "accepted", listing.REJECT: "rejected"},
    ),
  }
  return web_page.filters("candidates", options, "Text has")


def _card(row: listing.Row, numbers: Mapping[str, int], picture: bytes | None) -> str:
  kind = row["kind"]
  what = row["class"] if row["given_class"] is None else row["given_class"]
  if kind == candidates.WRONG_CLASS:
    what = f"{row['given_class']} → {row['class']}"
  name = row["file_name"] or row["image_id"]
  heading = f"{_TITLES[kind]}: {what}"
  facts = [f"probability {row['probability']:.2f}"]
  if row["score"] is not None:
    facts.append(f"score {row['score']:.2f}")
  if row["overlap"]:
    facts.append(f"overlap {row['overlap']:.2f}")
  others = [
    f"{_TITLES[other]} {row[other]:.2f}"
    for other in candidates.KINDS
    if other != kind and row[other] >= 0.1
  ]
  shown = '<div class="none">no picture</div>'
  if picture is not None:
    shown = web_page.image(picture, "jpeg", f"{name}: {heading}")
  classes = " ".join(str(numbers[one]) for one in sorted(_classes(row)))
  also = f"<p>Also: {escape(', '.join(others))}.</p>" if others else ""
  return (
    f'<div class="card" tabindex="-1" data-id="{escape(row["id"])}" data-kinds="{escape(kind)}"'
    f' data-classes="{classes}" data-decision="open">{shown}<h3>{escape(heading)}</h3>'
    f"<p>{escape(name)}: {escape(', '.join(facts))}. {_DONE[kind]}</p>{also}"
    '<div class="choice">'
    f'<button type="button" data-decision="{listing.ACCEPT}" aria-pressed="false">Accept</button>'
    f'<button type="button" data-decision="{listing.REJECT}" aria-pressed="false">Reject</button>'
    "</div></div>"
  )
