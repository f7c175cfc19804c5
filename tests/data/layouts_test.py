"""One data set in the layout of each labelling tool: the records are the same, ids aside."""

import json

import pytest

from mtl_ssl_tf.data import pascal_voc, schema, validate
from tests.data import layout_files

# Layout -> what writes it, and flags of converter and validator beyond --data_dir.
_VOC_LAYOUTS = {
  "VOC": (lambda root: layout_files.write_voc(root, line="{}"), []),
  "split lines with endings": (lambda root: layout_files.write_voc(root, line="{}.jpg"), []),
  "VoTT": (layout_files.vott, []),
  "labelme2voc": (layout_files.write_voc, []),
  "Label Studio": (lambda root: layout_files.write_voc(root, images="images"), []),
  "Roboflow": (lambda root: layout_files.write_voc(root, "train", "train"), []),
  "CVAT": (lambda root: layout_files.write_voc(root, folder="cam1/day1/", line="{}"), []),
  "predict --outputs voc": (lambda root: layout_files.write_voc(root, folder="cam1/"), []),
  "LabelImg": (layout_files.label_img, ["--missing_annotation=background"]),
}


@pytest.fixture(name="expected", scope="module")
def _expected(tmp_path_factory):
  return layout_files.expected(tmp_path_factory.mktemp("expected"))


def test_records_differ_and_one_has_no_box(expected):
  assert len({record[schema.IMAGE_ENCODED] for record in expected}) == 4
  assert [record[schema.OBJECT_TEXT].count("value") for record in expected].count(0) == 1


@pytest.mark.parametrize("layout", _VOC_LAYOUTS)
def test_voc_layouts(layout, tmp_path, expected):
  write, more = _VOC_LAYOUTS[layout]
  write(tmp_path / "data")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split=train", *more]
  assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}"]) == 0
  assert layout_files.records(tmp_path / "records") == expected
  assert validate.main([*flags, "--min_boxes_per_class=0"]) == 0


def test_missing_annotation_is_a_fault_by_default(tmp_path, capsys):
  layout_files.label_img(tmp_path / "data")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split=train"]
  assert pascal_voc.main([*flags, f"--output_dir={tmp_path / 'records'}"]) == 1
  message = (
    "a2.xml: file: missing; accepted: one annotation for each image, or --missing_annotation="
  )
  assert message in capsys.readouterr().err
  assert validate.main(flags) == 1
  assert message in capsys.readouterr().err


def test_drawn_splits_have_all_images_once(tmp_path, expected):
  layout_files.write_voc(tmp_path / "data")
  (tmp_path / "classes.txt").write_text("cat\ndog\n")
  flags = [f"--data_dir={tmp_path / 'data'}", "--split_share=train=0.5,val=0.5", "--seed=1"]
  flags.append(f"--label_map={tmp_path / 'classes.txt'}")
  manifests = []
  for split in ("train", "val"):
    output = f"--output_dir={tmp_path / 'records'}"
    assert pascal_voc.main([*flags, f"--split={split}", output]) == 0
    manifests.append(json.loads((tmp_path / f"records/manifest_{split}.json").read_text()))
  assert sum(manifest["num_images"] for manifest in manifests) == len(expected)
  assert manifests[1]["options"]["split_share"] == {"train": 0.5, "val": 0.5}
  assert manifests[1]["options"]["seed"] == 1
