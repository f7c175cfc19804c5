"""Reports which variables were loaded, missing or left unused."""

from typing import NamedTuple


class Report(NamedTuple):
  """Names of variables, each list sorted.

  Attributes:
    loaded: given and assigned.
    missing: of our detector, but not given; they keep their value.
    unused: given, but not of our detector.
    copied: of our detector, not given, and copied from another of its variables.
  """

  loaded: list[str]
  missing: list[str]
  unused: list[str]
  copied: list[str] = ()

  def text(self, limit: int | None = 20) -> str:
    """Returns the report in lines, with at most `limit` names of each kind; None is all."""
    lines = []
    for title, names in (
      ("loaded", self.loaded),
      ("copied from the main head", self.copied),
      ("left as initialised", self.missing),
      ("in the file, but not used", self.unused),
    ):
      lines.append(f"{title}: {len(names)}")
      # That most of it was loaded is no news; what was not is.
      shown = names[:limit] if title != "loaded" else []
      lines += [f"  {name}" for name in shown]
      if title != "loaded" and len(names) > len(shown):
        lines.append(f"  ... and {len(names) - len(shown)} more")
    return "\n".join(lines)
