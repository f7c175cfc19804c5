"""The part on costs, from the file that a run leaves."""

import json

import pytest

from mtl_ssl_tf.reporting import cost_section
from mtl_ssl_tf.tasks import auxiliary_costs
from tests import web_page_test

_COSTS = {
  "multi_object": auxiliary_costs.Cost(1234567, 12.345),
  "foreground": auxiliary_costs.Cost(10, None),
}


def write(folder, worth) -> None:
  table = auxiliary_costs.table(_COSTS, worth, "CPU")
  (folder / "auxiliary_costs.json").write_text(json.dumps({"step": 3000, **table.content}))


def test_what_a_run_leaves_is_shown(tmp_path):
  write(tmp_path, auxiliary_costs.Worth("voc/mAP50_area", 0.5, 0.525))
  (section,) = cost_section.costs(tmp_path)
  texts = web_page_test.read(section.html().encode()).texts
  for text in ("multi_object", "1,234,567", "12.35", "foreground", "10", "not measured"):
    assert text in texts, text
  assert (
    "At the end of the run, step 3,000. The time is that of one image at inference, on the CPU."
    " voc/mAP50_area of these weights is 50.0 without refinement, 52.5 with it." in texts
  )


def test_without_refinement_its_worth_is_left_out(tmp_path):
  write(tmp_path, None)
  (section,) = cost_section.costs(tmp_path)
  assert "without refinement" not in section.body


@pytest.mark.parametrize("content", [None, "", "[]", '{"step": 1}', '{"parts": 3}'])
def test_no_file_and_no_such_content_leave_the_part_out(tmp_path, content):
  if content is not None:
    (tmp_path / "auxiliary_costs.json").write_text(content)
  assert cost_section.costs(tmp_path) == []
