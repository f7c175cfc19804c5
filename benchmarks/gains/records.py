"""Reads what comparisons left behind; several of one set count as one."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf.comparison import statistics

# Records of further seeds or arms may be kept beside that of `compare`, as comparison_NAME.json.
PATTERN = "comparison*.json"


def read(folder: pathlib.Path, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
  """Returns name -> comparison of the folders in `folder` that match one of the patterns."""
  places = sorted({path.parent for name in wanted for path in folder.glob(f"{name}/{PATTERN}")})
  return {
    place.name: merged([json.loads(path.read_text()) for path in sorted(place.glob(PATTERN))])
    for place in places
  }


def merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the comparison that records of one set and number of steps make together.

  Of an arm, a record counts if those before it have none of its seeds: so further seeds are added,
  and what another comparison repeated is left out. Differences are paired within their record, and
  over all seeds that count.

  Args:
    records: contents of `comparison.json`.

  Returns:
    A mapping with `arms`, `figures`, `refinement_ablation`, `differences` and `cpu_minutes` of such
    a content.
  """
  arms = list(dict.fromkeys(arm for record in records for arm in record["arms"]))
  parts = {arm: _parts(records, arm) for arm in arms}
  steps = sorted({step for record in records for step in record["figures"]}, key=int)
  ablations = {
    arm: {
      setting: _union(part["refinement_ablation"].get(arm, {}).get(setting, {}) for part in found)
      for setting in dict.fromkeys(
        name for part in found for name in part["refinement_ablation"].get(arm, {})
      )
    }
    for arm, found in parts.items()
  }
  differences = {arm: _difference(parts[arm], arm) for arm in arms}
  return {
    "arms": arms,
    "figures": {
      step: {
        arm: _union(part["figures"].get(step, {}).get(arm, {}) for part in found)
        for arm, found in parts.items()
      }
      for step in steps
    },
    "refinement_ablation": {arm: found for arm, found in ablations.items() if found},
    "differences": {arm: found for arm, found in differences.items() if found is not None},
    "cpu_minutes": {
      arm: [minutes for part in found for minutes in part["cpu_minutes"].get(arm, [])]
      for arm, found in parts.items()
    },
  }


def _parts(records: Sequence[Mapping[str, Any]], arm: str) -> list[Mapping[str, Any]]:
  """The records that count for an arm."""
  parts, seeds = [], set()
  for record in records:
    own = _last(record).get(arm, {}).keys()
    if own and not seeds & own:
      parts.append(record)
      seeds |= own
  return parts


def _difference(parts: Sequence[Mapping[str, Any]], arm: str) -> Mapping[str, Any] | None:
  """To the first arm of each record; None of such an arm."""
  found = [part["differences"].get(arm) for part in parts]
  if None in found or len(found) < 2:
    return found[0] if found else None
  firsts = _union(_last(part)[part["arms"][0]] for part in parts)
  others = _union(_last(part)[arm] for part in parts)
  difference = dataclasses.asdict(statistics.paired_difference(firsts, others))
  # As JSON has it.
  return {key: None if math.isnan(value) else value for key, value in difference.items()}


def _last(record: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
  """Arm -> seed -> figure after the last step."""
  return record["figures"][max(record["figures"], key=int)]


def _union(mappings) -> dict[str, float]:
  return {key: value for mapping in mappings for key, value in mapping.items()}
