"""The page about two runs, read by a parser: nothing is fetched, text is text, pictures few."""

import base64
import io
import re

import pytest
from PIL import Image

from mtl_ssl_tf.evaluation import tables
from mtl_ssl_tf.reporting import image_sections
from mtl_ssl_tf.reporting import page as page_lib
from mtl_ssl_tf.serving import score_thresholds
from tests import web_page_test
from tests.reporting import made_up


@pytest.fixture(name="reader", scope="module")
def _reader(page):
  return web_page_test.read(page.read_bytes())


def test_names_are_only_text(reader):
  tags = [tag for tag, _ in reader.tags]
  assert tags.count("script") == 1  # Its own.
  assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
  assert made_up.EVIL in reader.texts
  for image_id in made_up.IMAGE_IDS[1:3]:
    assert any(image_id in of.get("alt", "") for _, of in reader.tags)


def test_nothing_is_fetched(reader):
  addresses = [
    value for _, of in reader.tags for name, value in of.items() if name in ("src", "href")
  ]
  assert addresses
  assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in addresses)
  assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}


def test_every_link_has_its_place(reader):
  places = [of["id"] for _, of in reader.tags if "id" in of]
  assert len(set(places)) == len(places)
  links = [of["href"][1:] for tag, of in reader.tags if tag == "a"]
  assert set(links) <= set(places)
  assert links[:5] == ["figures", "comparison", "examples", "per-class", "errors"]
  filtered = [of["data-filters"] for _, of in reader.tags if "data-filters" in of]
  assert set(filtered) <= set(places)


def test_pictures_are_bounded_in_number_and_size(page, found):
  encoded = re.findall(rb'src="data:image/jpeg;base64,([^"]+)"', page.read_bytes())
  # Four of each kind, and two pairs of each.
  assert 0 < len(encoded) <= 4 + 4 + 2 * (2 + 2)
  for content in encoded:
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
      assert max(image.size) <= 480
  shown = [image_sections.worst(found[0], 4), image_sections.best(found[0], 4)]
  ids = [image.truth.image_id for images in shown for image in images]
  assert len(set(ids)) == len(ids)


def test_worst_come_first(found):
  worst = [image.f1 for image in image_sections.worst(found[1], 60)]
  assert worst == sorted(worst) and len(worst) > 2
  best = [image.f1 for image in image_sections.best(found[1], 0) or found[1].images]
  assert max(best) == max(image.f1 for image in found[1].images)


def test_figures_are_told(reader, found):
  place = reader.texts.index("voc/mAP50_area")
  assert reader.texts[place + 1] == tables.percent(found[0].figures["voc/mAP50_area"])
  for name in (made_up.EVIL, "cat", "owl"):
    assert reader.texts.count(name) >= 3


def test_thresholds_are_what_export_takes(page, found):
  path = page.with_name("report_thresholds.json")
  assert score_thresholds.read(path, made_up.NAMES) == found[0].thresholds
  content = score_thresholds.read_all(path)
  assert content["not_measured"] == ["owl"] and content["step"] == 10


def test_a_run_without_logs_and_a_page_without_pictures(found, tmp_path):
  output = tmp_path / "p.html"
  page_lib.write(output, found[0], None, 0, {})
  content = output.read_bytes()
  assert b"data:image/jpeg" not in content and b'id="comparison"' not in content
  assert (tmp_path / "p_thresholds.json").exists()
