"""Places of pictures on a sheet."""

import numpy as np
import pytest

from mtl_ssl_tf.visualization import sheets


def filled(height, width, value):
  return np.full((height, width, 3), value, np.uint8)


def test_in_a_row():
  row = sheets.in_a_row([filled(5, 6, 100), filled(3, 2, 200)])
  assert row.shape == (5, 6 + 4 + 2, 3)
  assert (row[:, :6] == 100).all() and (row[:3, 10:] == 200).all()
  assert (row[:, 6:10] == 32).all() and (row[3:, 10:] == 32).all()


def test_side_by_side_with_captions():
  sheet = sheets.contact_sheet([filled(40, 60, 100), filled(40, 60, 200)], ["left", "right"])
  caption = sheet.shape[0] - 40
  assert caption > 0 and sheet.shape[1] == 60 + 4 + 60
  assert (sheet[caption:, :60] == 100).all() and (sheet[caption:, 64:] == 200).all()
  assert (sheet[:caption, :60] > 200).any() and (sheet[:caption, 64:] > 200).any()


def test_rows_of_columns():
  images = [filled(40, 60, 100), filled(40, 60, 150), filled(40, 60, 200)]
  sheet = sheets.contact_sheet(images, ["a", "b", "c"], columns=2)
  row = sheet.shape[0] // 2
  assert sheet.shape[1] == 124
  assert (sheet[row - 40 : row, 64:] == 150).all()
  assert (sheet[2 * row - 40 :, :60] == 200).all()
  assert (sheet[row:, 64:] == 32).all()


def test_a_caption_for_each_image():
  with pytest.raises(ValueError):
    sheets.contact_sheet([filled(4, 4, 0)], ["a", "b"])
