"""Part of the page on cost and worth of auxiliary tasks and refinement, as the run left them."""

import json
import pathlib

from mtl_ssl_tf import web_page
from mtl_ssl_tf.reporting import sections
from mtl_ssl_tf.tasks import auxiliary_costs

_SECTION = "costs"
_TITLE = "Cost of the auxiliary tasks"


def costs(model_dir: pathlib.Path) -> list[sections.Section]:
  """Returns the part; none where the run has no such tasks, or its file is not to be read."""
  try:
    content = json.loads((model_dir / f"{auxiliary_costs.NAME}.json").read_bytes())
    rows = [
      (name, _cell(cost["parameters"], ",d"), _cell(cost["milliseconds"], ".2f"))
      for name, cost in content["parts"].items()
    ]
    text = f"At the end of the run, step {int(content['step']):,}."
    if content["device"] is not None:
      text += f" The time is that of one image at inference, on the {content['device']}."
    if "metric" in content:
      off, on = (f"{100.0 * float(content[name]):.1f}" for name in ("unrefined", "refined"))
      text += f" {content['metric']} of these weights is {off} without refinement, {on} with it."
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    return []
  body = sections.lead(web_page.escape(text))
  body += web_page.table(["part", "parameters", "ms an image"], rows, _TITLE)
  return [sections.Section(_SECTION, _TITLE, body)]


def _cell(value: float | None, form: str) -> web_page.Number:
  if value is None:
    return web_page.Number("not measured", float("nan"))
  return web_page.Number(format(value, form), float(value))
