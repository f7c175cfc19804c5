"""The page that explains detections: its sentences, its tables, and how a browser shows it."""

import re

import numpy as np
import pytest

from mtl_ssl_tf.prediction import explanation_page
from tests import fixtures, web_page_test
from tests.prediction import explanation_test

IMAGE = fixtures.noise_image(100, 200)
NAMES = ["cat", "dog"]


def page(name="a.jpg", names=NAMES, about=("About.",), **changed) -> str:
  found = explanation_test.explain(**changed)
  return explanation_page.page(name, about, IMAGE, found, names).decode()


def texts(**options) -> list[str]:
  return [text for text in web_page_test.Reader(page(**options)).texts if text.strip()]


def test_sentences_say_what_changed_and_by_what():
  said = texts()
  assert "1. cat: 0.50 → 0.80" in said
  assert (
    "Refinement raised the score of cat from 0.50 to 0.80. Compared with background, its strongest"
    " rival, “window 1: its proposal” (+1.00) speaks most for it and “window 2: the image” (-0.50)"
    " most against it."
  ) in said
  assert (
    "Its score of 0.70 is the main head's: its proposal is not refined"
    " (task.refinement.min_object_score, task.refinement.max_proposals)."
  ) in said


@pytest.mark.parametrize("own", [-6.0, 6.0])
def test_what_the_main_head_said_before_is_nothing_that_refinement_added(own):
  parts = explanation_test.PARTS.copy()
  parts[0] = [0.0, own, 0.0]
  parts = np.stack([parts, np.full_like(parts, np.nan)])
  said = "\n".join(texts(proposal_refinement_parts=parts))
  assert "“window 1: its proposal” (+1.00) speaks most for it and “window 2" in said
  assert "“main head, as it was”" not in said


@pytest.mark.parametrize(
  ("after", "words"),
  [
    ([0.5, 0.4, 0.1], "Refinement lowered the score of cat from 0.50 to 0.40. Compared with"),
    ([0.3, 0.501, 0.199], "Refinement left the score of cat at 0.50. Compared with"),
  ],
)
def test_a_score_may_fall_or_stay(after, words):
  rows = [after, explanation_test.AFTER[1]]
  assert any(text.startswith(words) for text in texts(proposal_refined_class_scores=rows))


def test_the_best_detection_lies_on_top():
  overview = page().split("<h3>")[0]
  tags = re.findall(r'<span class="tag [^>]*>([^<]*)<', overview)
  assert tags == ["2 dog 0.70", "1 cat 0.80"]


def test_each_window_has_its_highest_classes():
  said = texts()
  place = said.index(" window 1: its proposal")
  assert said[place + 1 : place + 7] == ["cat", "0.80", "background", "0.20", "dog", "0.00"]
  # The one that is not refined has no windows.
  assert said.count(" window 1: its proposal") == 1
  drawn = page().count('<g class="layer-windows">')
  assert drawn == 2


def test_parts_add_up():
  said = texts()
  place = said.index("in all")
  assert said[place + 1] == "+0.76"  # log(0.5 / 0.3) + 0.25 + 1 - 0.5 + 0 - 0.5
  assert "What speaks for cat, against background" in said
  assert said.count("in all") == 1


def test_closeness_of_the_image():
  said = texts()
  place = said.index("Closeness of the image")
  assert said[place + 2 : place + 6] == ["dog", "0.50", "background", "0.25"]
  assert "Closeness of the image" not in texts(closeness_summary_scores=None)


def test_no_detection():
  assert "There is no detection of that score. The highest score is 0.80; " in texts(threshold=0.99)


def test_outside_text_is_only_text():
  evil = web_page_test.EVIL
  named = web_page_test.Reader(page(evil, [evil, evil], [evil]))
  sound = web_page_test.Reader(page())
  assert [tag for tag, _ in named.tags] == [tag for tag, _ in sound.tags]
  assert not {"script", "link", "a"} & {tag for tag, _ in named.tags}


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_of_it(browser, tmp_path, width):
  content = page("a_name_that_never_ends_" * 5, ["a class with a long name " * 2] * 2)
  (tmp_path / "page.html").write_text(content)
  browser.open(tmp_path / "page.html", width, 800)
  browser.check()
  assert browser.evaluate("document.images.length") == 1 + 2


def test_the_picture_is_not_larger_than_needed():
  large = fixtures.noise_image(1000, 2000)
  content = explanation_page.page("a", [], large, explanation_test.explain(), NAMES).decode()
  assert len(re.findall("data:image/jpeg", content)) == 3
  assert len(content) < 1_500_000
