"""Tests of finding images by the paths that annotation files have for them."""

import unicodedata

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import image_folder


def _find(tmp_path, name: str, *files: str, num_names: int = 1) -> tuple[str, bool]:
  for file in files:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
  return image_folder.ImageFolder(tmp_path).find(name, lambda last_name: num_names)


def _fault(tmp_path, name: str, *files: str, **options: int) -> str:
  with pytest.raises(faults.FaultError) as caught:
    _find(tmp_path, name, *files, **options)
  return str(caught.value).replace(tmp_path.name, "images")


def test_a_path_that_is_there(tmp_path):
  assert _find(tmp_path, "a/b.jpg", "a/b.jpg", "c/b.jpg", num_names=2) == ("a/b.jpg", False)


@pytest.mark.parametrize("name", ["images/b.jpg", "/data/b.jpg", "../../b.jpg", "C:/b.jpg"])
def test_the_last_name_counts_where_the_path_is_not_there(tmp_path, name):
  assert _find(tmp_path, name, "a/b.jpg", "c.jpg") == ("a/b.jpg", True)


@pytest.mark.parametrize("name", ["/home/me/images/cam1/b.jpg", "../cam1/b.jpg", "x/cam1/b.jpg"])
def test_the_longest_end_that_is_there_counts(tmp_path, name):
  files = ("cam1/b.jpg", "cam2/b.jpg", "b.jpg")
  assert _find(tmp_path, name, *files) == ("cam1/b.jpg", True)
  with pytest.raises(faults.FaultError, match="of which more than one image may be meant"):
    _find(tmp_path, name, *files, num_names=2)


def test_what_follows_the_name_of_the_folder_counts(tmp_path):
  name = f"/home/me/{tmp_path.name}/b.jpg"
  assert _find(tmp_path, name, "b.jpg", "cam1/b.jpg") == ("b.jpg", True)


def test_no_path_leads_out(tmp_path):
  (tmp_path / "secret.jpg").touch()
  (tmp_path / "images").mkdir()
  assert "../secret.jpg: file: missing; accepted" in _fault(tmp_path / "images", "../secret.jpg")


def test_composed_and_decomposed_letters_are_the_same(tmp_path):
  composed, decomposed = (unicodedata.normalize(form, "é/café.jpg") for form in ("NFC", "NFD"))
  assert _find(tmp_path, composed, decomposed) == (decomposed, False)
  assert _find(tmp_path, f"x/{composed}") == (decomposed, True)


def test_several_of_a_name(tmp_path):
  assert _fault(tmp_path, "x/b.jpg", "a/b.jpg", "c/b.jpg") == (
    "x/b.jpg: file: missing; the nearest of that name, of which more than one image may be meant,"
    " are 'a/b.jpg', 'c/b.jpg'; accepted: an image in images"
  )


def test_several_paths_with_the_last_name(tmp_path):
  # a/b.jpg is there and y/b.jpg is not: it must not get the picture of the other.
  assert "more than one image may be meant, is 'a/b.jpg'" in _fault(
    tmp_path, "y/b.jpg", "a/b.jpg", num_names=2
  )


@pytest.mark.parametrize(
  ("name", "there"),
  [("b1.jpg", "b1.JPG"), ("b1.jpg", "b1.png"), ("b 1.jpg", "b%201.jpg"), ("B1.jpg", "b1.jpeg")],
)
def test_the_nearest_name_is_told(tmp_path, name, there):
  assert _fault(tmp_path, name, there, "c.jpg") == (
    f"{name}: file: missing; the nearest name there is '{there}'; accepted: an image in images"
  )
