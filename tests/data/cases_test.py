"""Exports as labelling tools leave them, and the right outcome of converting each.

Each kind is made here by code. Where the project's folder of cases lies next to the checkout, those
are converted too: `SHARED_CASES` names another place.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence

import pytest

from mtl_ssl_tf.data import coco_json, pascal_voc
from tests.data import jpeg_damage, voc_files

_SHARED = pathlib.Path(
  os.environ.get("SHARED_CASES", pathlib.Path(__file__).parents[3] / "shared/cases")
)


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The right outcome of a case.

  Attributes:
    make: writes the case into an empty folder.
    num_images, num_boxes: converted with `--on_error=fail`; None where that must stop.
    words: among the messages.
    skipped: images and boxes converted with `--on_error=skip` where `fail` stops; None where that
      stops too.
    flags: of the converter.
    split: name of the split.
    classes: of the label map.
  """

  make: Callable[[pathlib.Path], object]
  num_images: int | None = 3
  num_boxes: int | None = 6
  words: str = ""
  skipped: tuple[int, int] | None = None
  flags: Sequence[str] = ()
  split: str = "train"
  classes: Sequence[str] = ("cat", "dog")


def _jpeg(shift: int = 0) -> bytes:
  picture = voc_files.picture(48, 64).point(lambda value: (value + 20 * shift) % 256)
  return voc_files.image_bytes(picture)


# VOC.

_BOXES = {"cat": (10, 8, 30, 40), "dog": (34, 20, 60, 44)}
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _object(name: str, box: Sequence[float] | None = None, **fields: object) -> str:
  box = box or _BOXES[name.lower()]
  return voc_files.object_xml(name, dict(zip(_SIDES, box, strict=True)), **fields)


_OBJECTS = (_object("cat"), _object("dog"))


def _voc(
  root: pathlib.Path,
  *changed: Sequence[str],
  names: Sequence[str] = ("a1", "a2", "a3"),
  annotations: str = "Annotations",
  images: str = "JPEGImages",
  line: str | None = "{}",
  split: str = "train",
  filename: str = "{}.jpg",
) -> None:
  """Images with a cat and a dog each; `changed` are the objects of the first ones."""
  for place, name in enumerate(names):
    objects = changed[place] if place < len(changed) else _OBJECTS
    xml = voc_files.annotation_xml(objects, (48, 64), filename.format(name))
    for path, content in (
      (root / annotations / f"{name}.xml", xml),
      (root / images / f"{name}.jpg", _jpeg(place)),
    ):
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
  if line is not None:
    path = root / f"ImageSets/Main/{split}.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line.format(name)}\n" for name in names))


def _wrapped(root: pathlib.Path) -> None:
  inside = [f"<objects>{''.join(_OBJECTS)}</objects>"]
  _voc(root, _OBJECTS, inside, inside)


def _item(root: pathlib.Path) -> None:
  _voc(root, _OBJECTS, [text.replace("object>", "item>") for text in _OBJECTS])


def _voc_flags(**fields: object) -> Callable[[pathlib.Path], None]:
  return lambda root: _voc(root, *[[_object("cat", **fields), _object("dog", **fields)]] * 3)


def _without_end_marker(root: pathlib.Path) -> None:
  _voc(root, names=("noeoi", "junk", "tail", "good"))
  junk = jpeg_damage.padded(_jpeg(6), b'\x11"3' * 100)
  contents = {"noeoi": _jpeg(5)[:-2], "junk": junk, "tail": _jpeg(7) + bytes(9)}
  for name, content in contents.items():
    (root / f"JPEGImages/{name}.jpg").write_bytes(content)


def _background(root: pathlib.Path) -> None:
  _voc(root)
  (root / "Annotations/a3.xml").unlink()


# COCO.

_CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})
_XYWH = {1: [10, 8, 20, 32], 2: [34, 20, 26, 24]}


def _coco(
  root: pathlib.Path,
  *,
  images: Callable[[dict], dict] = lambda entry: entry,
  annotations: Callable[[dict], dict] = lambda entry: entry,
  categories: Sequence[dict] = _CATEGORIES,
  files: Sequence[str] = ("b1.jpg", "b2.jpg", "b3.jpg"),
  list_name: str = "annotations",
  json_file: str = "train.json",
  folder: str = "images",
  change: Callable[[dict], object] = lambda content: None,
) -> None:
  """Three images, 1 to 3, with a cat and a dog each; each entry is changed."""
  (root / folder).mkdir(parents=True)
  for place, file in enumerate(files):
    (root / folder / file).parent.mkdir(exist_ok=True)
    (root / folder / file).write_bytes(_jpeg(place))
  entries = [
    {"id": number, "file_name": f"b{number}.jpg", "width": 64, "height": 48}
    for number in range(1, len(files) + 1)
  ]
  objects = [
    {"image_id": entry["id"], "category_id": kind, "bbox": box, "area": 640, "iscrowd": 0}
    for entry in entries
    for kind, box in _XYWH.items()
  ]
  objects = [
    annotations({"id": number, **entry, "segmentation": []})
    for number, entry in enumerate(objects, start=1)
  ]
  content = {"images": list(map(images, entries)), list_name: objects, "categories": categories}
  change(content)
  (root / json_file).write_text(json.dumps(content))


def _made(**changes: object) -> Callable[[pathlib.Path], None]:
  return lambda root: _coco(root, **changes)


def _empty_bbox(content: dict) -> None:
  content["annotations"][4:] = [{"id": 99, "image_id": 3, "bbox": [], "area": 0, "category_id": 0}]


_ROOT = {"id": 0, "name": "animals", "supercategory": "none"}
_NOT_READ = "looks like an object and is not read"
CASES = {
  "01_voc_objects_in_wrapper": Outcome(
    _wrapped, None, None, f"a2.xml: objects/object: {_NOT_READ}", (1, 2)
  ),
  "01c_voc_item_instead_of_object": Outcome(
    _item, None, None, f"a2.xml: item/bndbox: {_NOT_READ}", (2, 4)
  ),
  "02_coco_key_misspelt": Outcome(
    _made(list_name="annotation"), None, None, "annotation: holds boxes, which are not read"
  ),
  "03_coco_via_text_image_id": Outcome(
    _made(annotations=lambda entry: entry | {"image_id": str(entry["image_id"])})
  ),
  "03c_coco_size_minus_one": Outcome(
    _made(images=lambda entry: entry | ({"width": -1, "height": -1} if entry["id"] > 1 else {})),
    words="the annotation does not say how large the image is: 2",
  ),
  "03d_coco_annotation_ids_restart": Outcome(
    _made(annotations=lambda entry: entry | {"id": entry["category_id"]}),
    words="annotations: id: repeated in 4 of 6 annotations; the places in the file are the ids",
  ),
  "03e_coco_annotation_ids_missing": Outcome(
    _made(annotations=lambda entry: {key: entry[key] for key in entry if key != "id"}),
    words="annotations: id: missing or no whole number in 6 of 6 annotations; the places in the",
  ),
  "04_voc_no_imagesets": Outcome(lambda root: _voc(root, line=None)),
  "04b_voc_flat_folder": Outcome(
    lambda root: _voc(root, annotations="train", images="train", line=None)
  ),
  "04d_voc_nested": Outcome(
    lambda root: _voc(root, names=("cam1/day1/f1", "cam1/day1/f2", "cam2/f1"), split="default"),
    split="default",
  ),
  "04f_voc_split_with_endings": Outcome(lambda root: _voc(root, line="{}.jpg")),
  "05_voc_flags_unspecified": Outcome(_voc_flags(truncated="Unspecified", difficult="Unspecified")),
  "05b_voc_truncated_fraction": Outcome(_voc_flags(truncated=0.0597)),
  "05d_coco_null_iscrowd": Outcome(_made(annotations=lambda entry: entry | {"iscrowd": None})),
  "05f_coco_null_area": Outcome(_made(annotations=lambda entry: entry | {"area": None})),
  "06_coco_backslashes": Outcome(
    _made(images=lambda entry: entry | {"file_name": f"images\\{entry['file_name']}"}),
    words="image found by the end of its path alone: 3",
  ),
  "06c_coco_leads_out": Outcome(
    _made(images=lambda entry: entry | {"file_name": f"../../upload/4/{entry['file_name']}"}),
    words="image found by the end of its path alone: 3",
  ),
  "06e_voc_filename_with_folder": Outcome(lambda root: _voc(root, filename="images/{}.jpg")),
  "08_coco_large_integer": Outcome(_made(images=lambda entry: entry | {"phash": 2**64 - 1})),
  "09_jpeg_without_end_marker": Outcome(
    _without_end_marker, 4, 8, "JPEG without its end marker: 1"
  ),
  "10_voc_boxes_out_by_two_pixels": Outcome(
    lambda root: _voc(root, [_object("cat", (-2, 8, 30, 50)), _object("dog", (34, -3, 67, 44))]),
    words="box that sticks out a little, cut to fit the image: 1",
  ),
  "12_coco_name_nfd": Outcome(
    _made(
      files=("b1.jpg", "cafe\u0301.jpg"),
      images=lambda entry: entry | ({"file_name": "caf\u00e9.jpg"} if entry["id"] == 2 else {}),
    ),
    2,
    4,
  ),
  "12c_coco_name_case": Outcome(
    _made(files=("b1.JPG", "b2.jpg")),
    None,
    None,
    "b1.jpg: file: missing; the nearest name there is 'b1.JPG'",
    (1, 2),
  ),
  "13_coco_roboflow_root": Outcome(
    _made(
      categories=[_ROOT, *(entry | {"supercategory": "animals"} for entry in _CATEGORIES)],
      json_file="train/_annotations.coco.json",
      folder="train",
    ),
    words="'animals' has no boxes and is the group of all others: no class",
  ),
  "13c_coco_background_unused": Outcome(
    _made(categories=[{"id": 0, "name": "background"}, *_CATEGORIES]),
    words="'background' has no boxes and means the background: no class",
  ),
  "14_coco_name_with_blank": Outcome(_made(categories=[{"id": 1, "name": "cat "}, _CATEGORIES[1]])),
  "15_coco_same_file_twice": Outcome(
    _made(images=lambda entry: entry | ({"file_name": "b1.jpg"} if entry["id"] == 2 else {})),
    words="images: file_name: 'b1.jpg' (2 times): each becomes several records",
  ),
  "16_voc_classes_by_case": Outcome(
    lambda root: _voc(root, *([_object(name)] for name in ("Cat", "cat", "cat"))),
    3,
    3,
    "warning: train: classes: 'Cat', 'cat' differ by case or blanks",
    classes=("Cat", "cat"),
  ),
  "17b_coco_empty_bbox_for_background": Outcome(
    _made(change=_empty_bbox), 3, 4, "images without objects: 1"
  ),
  "20_voc_corners_swapped": Outcome(
    lambda root: _voc(root, [_object("cat", (30, 8, 10, 40)), _object("dog")]),
    words="box whose corners were exchanged: 1",
  ),
  "21_voc_background_without_xml": Outcome(
    _background, 3, 4, "images without objects: 1", flags=["--missing_annotation=background"]
  ),
}


# Further ones of the same kinds: other wrappers, names of lists, empty forms, paths and layouts.


def _told_otherwise(objects: str) -> Callable[[pathlib.Path], None]:
  """The second image has this in the place of objects."""
  return lambda root: _voc(root, _OBJECTS, [objects])


def _lists_elsewhere(root: pathlib.Path, path: str, line: str = "{}") -> None:
  """A list of the split that is not in `ImageSets/Main`, and an image that it does not have."""
  names = ("a1", "a2", "a3", "other")
  _voc(root, names=names, line=None)
  (root / path).parent.mkdir(parents=True, exist_ok=True)
  (root / path).write_text("".join(f"{line.format(name)}\n" for name in names[:3]))


def _image_formats(root: pathlib.Path) -> None:
  """Pictures of other formats under the ending of a JPEG."""
  _voc(root, names=("a1", "a2", "a3"))
  for name, image_format in (("a1", "WEBP"), ("a2", "GIF"), ("a3", "MPO")):
    content = voc_files.image_bytes(voc_files.picture(48, 64), image_format)
    (root / f"JPEGImages/{name}.jpg").write_bytes(content)


def _renamed(**names: str) -> Callable[[dict], dict]:
  """Changes an entry by renaming fields."""
  return lambda entry: {names.get(field, field): value for field, value in entry.items()}


_FRACTIONS = {1: [10 / 64, 8 / 48, 20 / 64, 32 / 48], 2: [34 / 64, 20 / 48, 26 / 64, 24 / 48]}
_CAMERAS = ("cam1/b.jpg", "cam2/b.jpg", "b.jpg")
OTHERS = {
  "voc: capital Object": Outcome(
    _told_otherwise(_OBJECTS[0].replace("object>", "Object>")),
    None,
    None,
    f"a2.xml: Object: {_NOT_READ}",
    (2, 4),
  ),
  "voc: sides as attributes": Outcome(
    _told_otherwise("<objs><o xtl='10' ytl='8' xbr='30' ybr='40' label='cat'/></objs>"),
    None,
    None,
    f"a2.xml: objs/o: {_NOT_READ}",
    (2, 4),
  ),
  "voc: corner and size": Outcome(
    _told_otherwise("<marks><m><x>10</x><y>8</y><w>20</w><h>32</h></m></marks>"),
    None,
    None,
    f"a2.xml: marks/m: {_NOT_READ}",
    (2, 4),
  ),
  "voc: polygon without a box": Outcome(
    _told_otherwise("<object><name>cat</name><polygon><x1>1</x1><y1>2</y1></polygon></object>"),
    None,
    None,
    "a2.xml: object 1 ('cat') bndbox: there are 0",
    (2, 4),
  ),
  "voc: sides in fractions": Outcome(
    lambda root: _voc(root, _OBJECTS, [_object("cat", (0.2, 0.1, 0.5, 0.8))]),
    None,
    None,
    "bndbox: 0.1, 0.2, 0.8, 0.5 (top, left, bottom, right) are fractions of the image",
    (2, 4),
  ),
  "voc: flags that say nothing": Outcome(_voc_flags(truncated="-", difficult="Not specified")),
  "voc: list of absolute paths": Outcome(
    lambda root: _lists_elsewhere(root, "ImageSets/Main/train.txt", "/home/me/JPEGImages/{}.jpg"),
    words="lines: 3 lead elsewhere, and their ends count: a1, a2, a3",
  ),
  "voc: list of paths of Windows": Outcome(
    lambda root: _lists_elsewhere(root, "ImageSets/Main/train.txt", "D:\\VOC\\JPEGImages\\{}.jpg"),
    words="lines: 3 lead elsewhere",
  ),
  "voc: list in ImageSets": Outcome(lambda root: _lists_elsewhere(root, "ImageSets/train.txt")),
  "voc: list beside the folders": Outcome(
    lambda root: _lists_elsewhere(root, "train.txt", "JPEGImages/{}.jpg")
  ),
  "voc: other formats under .jpg": Outcome(
    _image_formats, words="image converted to upright 8-bit RGB: 2"
  ),
  "coco: instances with rect": Outcome(
    _made(list_name="instances", annotations=_renamed(bbox="rect")),
    None,
    None,
    "instances: holds boxes, which are not read",
  ),
  "coco: labels with coordinates": Outcome(
    _made(
      list_name="labels",
      annotations=lambda entry: {"image_id": entry["image_id"], "coordinates": entry["bbox"]},
    ),
    None,
    None,
    "labels: has entries of images, which are not read; accepted: a list of this name: annotations",
  ),
  "coco: shapes inside images": Outcome(
    _made(
      images=lambda entry: entry | {"shapes": [{"points": [[10, 8], [30, 40]]}]},
      change=lambda content: content.update(annotations=[]),
    ),
    None,
    None,
    "image 1 shapes: holds boxes, which are not read",
  ),
  "coco: box as an object": Outcome(
    _made(annotations=lambda entry: entry | {"bbox": {"x": 1, "y": 2, "width": 3, "height": 4}}),
    None,
    None,
    "bbox: {'x': 1, 'y': 2",
  ),
  "coco: boxes in fractions": Outcome(
    _made(annotations=lambda entry: entry | {"bbox": _FRACTIONS[entry["category_id"]]}),
    None,
    None,
    "(top, left, bottom, right) are fractions of the image",
  ),
  "coco: flags that say nothing": Outcome(
    _made(annotations=lambda entry: entry | {"iscrowd": [], "ignore": "n/a", "difficult": "?"})
  ),
  "coco: sizes that say nothing": Outcome(
    _made(images=lambda entry: entry | {"width": "?", "height": "undefined"}),
    words="the annotation does not say how large the image is: 3",
  ),
  "coco: ids as fractions, categories as text": Outcome(
    _made(
      images=lambda entry: entry | {"id": float(entry["id"])},
      annotations=lambda entry: entry | {"category_id": "cd"[entry["category_id"] - 1]},
      categories=({"id": "c", "name": "cat"}, {"id": "d", "name": "dog"}),
    )
  ),
  "coco: paths of Windows with one name": Outcome(
    _made(
      files=_CAMERAS,
      images=lambda entry: entry | {"file_name": f"C:\\me\\images\\{_CAMERAS[entry['id'] - 1]}"},
    ),
    words="image found by the end of its path alone: 3",
  ),
  "coco: paths of another machine with folders": Outcome(
    _made(
      files=_CAMERAS[:2],
      images=lambda entry: entry | {"file_name": f"/home/me/images/{_CAMERAS[entry['id'] - 1]}"},
    ),
    2,
    4,
    "image found by the end of its path alone: 2",
  ),
  "coco: addresses of a bucket": Outcome(
    _made(images=lambda entry: entry | {"file_name": f"s3://bucket/day%201/{entry['file_name']}"})
  ),
  "coco: files on Label Studio's disk": Outcome(
    _made(images=lambda entry: entry | {"file_name": f"/data/local-files/?d={entry['file_name']}"})
  ),
  "coco: one file as ./b1.jpg and b1.jpg": Outcome(
    _made(images=lambda entry: entry | ({"file_name": "./b1.jpg"} if entry["id"] == 2 else {})),
    words="images: file_name: 'b1.jpg' (2 times)",
  ),
}


def _convert(case: pathlib.Path, output: pathlib.Path, outcome: Outcome, capsys, on_error: str):
  """Exit status, what was said, and the manifest or None."""
  flags = [f"--split={outcome.split}", f"--output_dir={output}", "--workers=1", *outcome.flags]
  flags.append(f"--on_error={on_error}")
  files = list(case.rglob("*.json"))
  if files:
    folder = case / "images" if (case / "images").is_dir() else files[0].parent
    status = coco_json.main([*flags, f"--annotations={files[0]}", f"--image_dir={folder}"])
  else:
    status = pascal_voc.main([*flags, f"--data_dir={case}"])
  manifest = output / f"manifest_{outcome.split}.json"
  content = json.loads(manifest.read_bytes()) if manifest.exists() else None
  return status, capsys.readouterr().err, content


def _check(case: pathlib.Path, tmp_path: pathlib.Path, outcome: Outcome, capsys) -> None:
  for on_error in ("fail", "skip"):
    output = tmp_path / on_error
    status, said, manifest = _convert(case, output, outcome, capsys, on_error)
    expected = (outcome.num_images, outcome.num_boxes)
    if outcome.num_images is None:
      expected = outcome.skipped if on_error == "skip" else None
    assert outcome.words in said
    if expected is None:
      assert (status, manifest) == (1, None)
      assert "error: " in said
      continue
    assert (status, manifest["num_images"], manifest["num_boxes"]) == (0, *expected)
    assert manifest["classes"] == list(outcome.classes)
    # Nothing that was annotated is background.
    without = manifest["num_images_without_boxes"]
    assert without == (1 if "without objects" in outcome.words else 0)
    shutil.rmtree(output)


@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_kinds(name, tmp_path, capsys):
  outcome = (CASES | OTHERS)[name]
  outcome.make(tmp_path / "case")
  _check(tmp_path / "case", tmp_path, outcome, capsys)


def test_a_picture_without_xml_is_a_fault_unless_it_is_told_to_be_background(tmp_path, capsys):
  _background(tmp_path / "case")
  outcome = Outcome(_background, None, None, "Annotations/a3.xml: file: missing", (2, 4))
  _check(tmp_path / "case", tmp_path, outcome, capsys)


@pytest.mark.skipif(not _SHARED.is_dir(), reason=f"no cases at {_SHARED}; set SHARED_CASES")
def test_shared_cases(tmp_path, capsys):
  names = sorted(path.name for path in _SHARED.iterdir() if path.is_dir())
  assert len(names) >= len(CASES)
  for name in names:
    if name in CASES:
      _check(_SHARED / name, tmp_path, CASES[name], capsys)
