"""Pictures of pairs of composites, and the command that draws them."""

import re

import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.visualization import composites
from tests import fixtures

YELLOW, CYAN = (255, 225, 0), (0, 220, 220)


def batch(size=64) -> dict[str, np.ndarray]:
  return {
    "query_images": np.full([2, size, size, 3], 40, np.uint8),
    "query_boxes": np.array([[8, 10, 40, 50], [0, 0, 30, 30]], np.float32),
    "key_images": np.full([2, size, size, 3], 90, np.uint8),
    "key_boxes": np.array([[20, 4, 60, 44], [5, 5, 63, 63]], np.float32),
  }


def at(picture: np.ndarray, color) -> tuple[int, int, int, int]:
  """First and last rows and columns of a colour, the ends not included."""
  rows, columns = np.nonzero(np.all(picture == color, axis=-1))
  return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_boxes_are_drawn_where_they_are():
  first, second = composites.draw_pairs(batch())
  query, key = first[:, :64], first[:, -64:]
  assert first.shape[0] == 64 and first.shape[1] > 128
  assert at(query, YELLOW) == (8, 10, 40, 50) and at(key, YELLOW) == (20, 4, 60, 44)
  assert tuple(query[30, 30]) == (40, 40, 40) and tuple(key[30, 30]) == (90, 90, 90)
  assert at(second[:, :64], YELLOW) == (0, 0, 30, 30)
  assert not np.any(np.all(first == CYAN, axis=-1))


def test_the_other_box_of_the_query_is_dashed():
  first, _ = composites.draw_pairs(batch(), np.array([[2, 3, 62, 60], [0, 0, 30, 30]]))
  assert at(first[:, :64], CYAN) == (2, 3, 62, 60)
  assert np.mean(np.all(first[2, 3:60] == CYAN, axis=-1)) < 0.8
  assert not np.any(np.all(first[:, -64:] == CYAN, axis=-1))


def test_an_image_of_the_data_stays(tmp_path, capsys):
  folder = tmp_path / "images"
  folder.mkdir()
  Image.fromarray(fixtures.noise_image(48, 64)).save(folder / "a.png")
  before = (folder / "a.png").read_bytes()
  status, _, error = run(
    tmp_path, capsys, f"--image_dir={folder}", f"--output={folder / 'a.png'}", "--num_images=1"
  )
  assert status == 1
  assert error == (
    f"error: --output '{folder}/a.png' is one of the images in '{folder}'; accepted: a file"
    " elsewhere\n"
  )
  assert (folder / "a.png").read_bytes() == before


def run(tmp_path, capsys, *flags) -> tuple[int, str, str]:
  data = f"{{store_dir: {tmp_path / 'store'}, composite: {{size: 32}}}}"
  status = composites.main(["--params_override", f"task: {{train_data: {data}}}", *flags])
  return status, *capsys.readouterr()


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_the_command_draws_a_sheet(tmp_path, capsys, name):
  (tmp_path / "images").mkdir()
  for number in range(3):
    image = Image.fromarray(fixtures.noise_image(40, 50, number))
    image.save(tmp_path / "images" / f"{number}.png")
  output = tmp_path / name
  status, out, err = run(
    tmp_path, capsys, "--image_dir", str(tmp_path / "images"), "--output", str(output),
    "--num_images", "5",
  )  # fmt: skip
  assert status == 0, err
  assert out == f"5 pairs of composites drawn to {output}\n"
  with Image.open(output) as picture:
    # Four in a row, a pair each, under a line of text.
    assert picture.width > 4 * 2 * 32 and picture.height > 2 * 32


@pytest.mark.parametrize(
  ("output", "message"),
  [
    ("a.xyz", "error: --output is '.*a.xyz'; accepted: a file that ends in .png, .jpg, .jpeg"),
    ("a.png", "error: image_dir is '.*nowhere'; accepted: a folder that exists"),
  ],
)
def test_errors_are_one_line(tmp_path, capsys, output, message):
  status, _, err = run(
    tmp_path, capsys, "--image_dir", str(tmp_path / "nowhere"), "--output", str(tmp_path / output)
  )
  assert status == 1
  assert len(err.splitlines()) == 1
  assert re.match(message, err)
