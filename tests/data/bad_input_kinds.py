"""Makers of every kind of broken input that `docs/bad_input.md` lists, one data set for each.

A maker gets an empty folder and returns the flags for converter and validator. Beside what is
broken, each data set holds `good` images, which are to come through.
"""

import dataclasses
import gzip
import json
import os
import pathlib
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import coco_json, pascal_voc, schema
from mtl_ssl_tf.data.records import writer as record_writer
from tests.data import coco_files, costly_images, jpeg_damage, voc_files


@dataclasses.dataclass(frozen=True)
class Made:
  """A data set with something broken in it.

  Attributes:
    flags: that tell validator and converter where it is.
    num_images: that the data set lists, broken ones included.
    validator_flags: that only the validator takes.
    converter_flags: that only the converter takes.
    convert: the converter's command.
  """

  flags: Sequence[str]
  num_images: int
  validator_flags: Sequence[str] = ()
  converter_flags: Sequence[str] = ()
  convert: Callable[[Sequence[str]], int] = pascal_voc.main


KINDS: dict[str, Callable[[pathlib.Path], Made]] = {}


def _kind(name: str, make: Callable[..., Made], *args: Any, **options: Any) -> None:
  assert name not in KINDS
  KINDS[name] = lambda folder: make(folder, *args, **options)


# PASCAL VOC.

_GOOD = voc_files.annotation_xml([voc_files.object_xml("cat")])
_XML = "bad.xml"


def _jpeg(shade: int = 0, **options: Any) -> bytes:
  return voc_files.image_bytes(
    voc_files.picture(20, 40).point(lambda value: (value + shade) % 256), "JPEG", **options
  )


def _png(mode: str = "RGB") -> bytes:
  return voc_files.image_bytes(voc_files.picture(20, 40).convert(mode), "PNG")


def _png_with_size(height: int, width: int) -> bytes:
  """A PNG whose header says so, with its checksum in order."""
  png = bytearray(_png())
  png[16:24] = struct.pack(">II", width, height)
  png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
  return bytes(png)


def _voc(
  folder: pathlib.Path,
  files: dict[str, bytes] | None = None,
  *,
  change: Callable[[pathlib.Path], object] = lambda root: None,
  num_images: int = 4,
  **flags: Sequence[str],
) -> Made:
  """Good images and `files`, by default another good one called bad, then `change`d."""
  good = {f"good{i}.xml": _GOOD for i in range(2)} | {_XML: _GOOD, "good2.xml": _GOOD}
  pictures = {f"good{i}.jpg": _jpeg(20 * i) for i in range(3)} | {"bad.jpg": _jpeg(90)}
  root = voc_files.write(folder, {**good, **pictures, **(files or {})})
  change(root)
  return Made([f"--data_dir={root}", "--split=train"], num_images, **flags)


def _annotation(folder: pathlib.Path, content: bytes) -> Made:
  return _voc(folder, {_XML: content})


def _objects(folder: pathlib.Path, *objects: str, **options: Any) -> Made:
  """A good object, which is to be kept, and others."""
  return _annotation(
    folder, voc_files.annotation_xml([voc_files.object_xml("cat"), *objects], **options)
  )


def _image(folder: pathlib.Path, content: bytes, extension: str = "jpg", size=(20, 40)) -> Made:
  annotation = voc_files.annotation_xml([voc_files.object_xml("cat")], size)

  def without_the_good_one(root: pathlib.Path) -> None:
    if extension != "jpg":
      (root / "JPEGImages/bad.jpg").unlink()

  files = {_XML: annotation, f"bad.{extension}": content}
  return _voc(folder, files, change=without_the_good_one)


def _pipe(folder: pathlib.Path) -> Made:
  def change(root: pathlib.Path) -> None:
    (root / "JPEGImages/bad.jpg").unlink()
    os.mkfifo(root / "JPEGImages/bad.jpg")

  return _voc(folder, change=change)


def _photo(folder: pathlib.Path, change: Callable[..., bytes], *arguments: bytes) -> Made:
  content = change(jpeg_damage.photo(restart_marker_rows=1), *arguments)
  return _image(folder, content, size=(96, 128))


def _split_file(folder: pathlib.Path, content: bytes | None, num_images: int) -> Made:
  def change(root: pathlib.Path) -> None:
    path = root / "ImageSets/Main/train.txt"
    path.unlink()
    if content is not None:
      path.write_bytes(content)

  return _voc(folder, change=change, num_images=num_images)


def _move_away(name: str) -> Callable[[pathlib.Path], object]:
  return lambda root: (root / name).rename(root / f"{name}-elsewhere")


def _link_out(root: pathlib.Path) -> None:
  secret = root.parent / "secret.jpg"
  secret.write_bytes(_jpeg())
  (root / "JPEGImages/bad.jpg").unlink()
  (root / "JPEGImages/bad.jpg").symlink_to(secret)


def _folder_as_image(root: pathlib.Path) -> None:
  (root / "JPEGImages/bad.jpg").unlink()
  (root / "JPEGImages/bad.jpg").mkdir()


_ENTITIES = b'<!DOCTYPE a [<!ENTITY x "aaaa"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
_kind("VOC: empty annotation", _annotation, b"")
_kind("VOC: XML cut short", _annotation, _GOOD[:-30])
_kind("VOC: XML with entities", _annotation, _ENTITIES)
_kind("VOC: XML of something else", _annotation, b"<html></html>")
_kind("VOC: XML with bytes that are no text", _annotation, _GOOD.replace(b"cat", b"c\xff\xfet"))
_kind("VOC: annotation missing", _voc, change=_move_away("Annotations/bad.xml"))
_kind("VOC: image missing", _voc, change=_move_away("JPEGImages/bad.jpg"))
_kind("VOC: two images of one name", _voc, {"bad.png": _png()})
_kind("VOC: object without a name", _objects, voc_files.object_xml(None))
_kind("VOC: object called background", _objects, voc_files.object_xml("background"))
_kind("VOC: object without a box", _objects, "<object><name>cat</name></object>")
_kind(
  "VOC: object with two boxes",
  _objects,
  voc_files.object_xml("cat").replace("<bndbox>", "<bndbox></bndbox><bndbox>"),
)
_kind("VOC: objects in a wrapper", _objects, f"<objects>{voc_files.object_xml()}</objects>")
_kind("VOC: box in another element", _objects, voc_files.object_xml().replace("object>", "item>"))
_kind("VOC: coordinate missing", _objects, voc_files.object_xml("cat", {"xmin": None}))
_kind("VOC: coordinate that is no number", _objects, voc_files.object_xml("cat", {"ymin": "4px"}))
_kind("VOC: coordinate NaN", _objects, voc_files.object_xml("cat", {"xmax": "nan"}))
_kind("VOC: box turned around", _objects, voc_files.object_xml("cat", {"xmax": 1}))
_kind("VOC: empty box", _objects, voc_files.object_xml("cat", {"ymax": 4}))
_kind("VOC: box outside the image", _objects, voc_files.object_xml("cat", {"xmax": 99}))
_kind("VOC: box a pixel too far", _objects, voc_files.object_xml("cat", {"xmax": 41}))
_kind(
  "VOC: box in fractions of the image",
  _objects,
  voc_files.object_xml("cat", {"xmin": 0.1, "ymin": 0.2, "xmax": 0.4, "ymax": 0.6}),
)
_kind("VOC: flag other than 0 and 1", _objects, voc_files.object_xml("cat", difficult=5))
_kind(
  "VOC: flags that are not told",
  _objects,
  voc_files.object_xml("cat", {"xmin": 3}, difficult="Unspecified", truncated=""),
)
_kind("VOC: truncated as a share", _objects, voc_files.object_xml(box={"xmin": 3}, truncated=0.06))
_kind("VOC: classes that differ by case", _objects, voc_files.object_xml("Cat", {"xmin": 3}))
_kind("VOC: size of another image", _objects, size=(20, 41))
_kind("VOC: size that is no number", _objects, size=(20, "wide"))
_kind("VOC: size missing", _objects, size=None)
_kind("VOC: file name that leads out", _objects, filename="../../secret.jpg")
_kind("VOC: file name of another image", _objects, filename="other.jpg")
_kind("VOC: file name of another image that is there", _objects, filename="good0.jpg")
_kind("VOC: split with a folder in a line", _split_file, b"good0\n../nowhere\ngood1\n", 2)
_kind(
  "VOC: split with a path of another machine", _split_file, b"good0\n/home/me/bad.jpg\ngood1\n", 3
)
_kind("VOC: split with a line twice", _split_file, b"good0\nbad\ngood1\ngood0\n", 3)
_kind("VOC: empty split", _split_file, b"\n", 0)
_kind("VOC: split that is no text", _split_file, b"good0\n\xff\xfe\n", 0)
_kind("VOC: split missing", _split_file, None, 0)
_kind("VOC: folder missing", _voc, change=_move_away("JPEGImages"), num_images=0)
_kind("VOC: link that leads out", _voc, change=_link_out)
_kind("VOC: folder in the place of an image", _voc, change=_folder_as_image)

# COCO.


def _coco(
  folder: pathlib.Path,
  *annotations: Any,
  images: Sequence[Any] = (),
  categories: Sequence[Any] | None = coco_files.CATEGORIES[:1],
  change: Callable[[bytes], bytes] = lambda content: content,
  num_images: int = 4,
  entry: Any = None,
  files: Sequence[str] = (),
) -> Made:
  """Four good images, 1 to 3 and 7, an object in each, and other entries; then `change`d.

  Args:
    folder: an empty one.
    *annotations: further ones.
    images: further ones.
    categories: all of them.
    change: of the whole content.
    num_images: that are listed in the end.
    entry: of image 7, if it is not to be a good one.
    files: names of further pictures.
  """
  good = [coco_files.annotation_entry(i, image_id=i) for i in (1, 2, 3, 7)]
  entries = [*map(coco_files.image_entry, (1, 2, 3)), entry or coco_files.image_entry(), *images]
  content = coco_files.text([*good, *annotations], entries, categories)
  pictures = {f"{i}.jpg": _jpeg(20 * i) for i in (1, 2, 3, 7)}
  coco_files.write(folder, change(content), pictures | {name: _jpeg(200) for name in files})
  flags = [f"--annotations={folder / 'train.json'}", f"--image_dir={folder / 'images'}"]
  return Made([*flags, "--split=train"], num_images, convert=coco_json.main)


def _coco_object(folder: pathlib.Path, **changes: Any) -> Made:
  """Another object in image 7; a change to None removes a field."""
  return _coco(folder, coco_files.annotation_entry(100, **changes))


def _coco_image(folder: pathlib.Path, **changes: Any) -> Made:
  return _coco(folder, entry=coco_files.image_entry(**changes))


def _coco_text(folder: pathlib.Path, change: Callable[[bytes], bytes]) -> Made:
  return _coco(folder, change=change, num_images=0)


_CAT = coco_files.CATEGORIES[0]
_kind("COCO: empty file", _coco_text, lambda _: b"")
_kind("COCO: JSON cut short", _coco_text, lambda content: content[:-60])
_kind("COCO: JSON of something else", _coco_text, lambda _: b'{"version": 5, "shapes": []}')
_kind("COCO: list in the place of an object", _coco_text, lambda _: b"[1, 2]")
_kind("COCO: compressed", _coco_text, gzip.compress)
_kind("COCO: UTF-16", _coco_text, lambda content: content.decode().encode("utf-16"))
_kind("COCO: HTML", _coco_text, lambda _: b"<!DOCTYPE html><html>404</html>")
_kind("COCO: no images", _coco_text, lambda _: coco_files.text([], []))
_kind("COCO: no categories", _coco, categories=(), num_images=0)
_kind(
  "COCO: list of another name",
  _coco_text,
  lambda content: content.replace(b'"annotations"', b'"annotation"'),
)
_kind("COCO: boxes inside images", _coco_image, objects=[{"bbox": [1, 2, 3, 4]}])
_kind("COCO: category id twice", _coco, categories=[_CAT, {"id": 3, "name": "dog"}])
_kind("COCO: category name twice", _coco, categories=[_CAT, {"id": 4, "name": "cat"}])
_kind("COCO: category without a name", _coco, categories=[_CAT, {"id": 4}])
_kind("COCO: background without boxes", _coco, categories=[{"id": 0, "name": "background"}, _CAT])
_kind(
  "COCO: group of all other categories",
  _coco,
  categories=[{"id": 0, "name": "pets"}, _CAT | {"supercategory": "pets"}],
)
_kind("COCO: image that is no object", _coco, images=["8.jpg"], num_images=5)
_kind(
  "COCO: image id twice",
  _coco,
  images=[coco_files.image_entry(file_name="8.jpg")],
  num_images=5,
  files=["8.jpg"],
)
_kind(
  "COCO: image id that is text",
  _coco,
  images=[coco_files.image_entry("8")],
  num_images=5,
  files=["8.jpg"],
)
_kind("COCO: image file missing", _coco_image, file_name="nowhere.jpg")
_kind("COCO: file name missing", _coco_image, file_name=None)
_kind("COCO: file name that leads out", _coco_image, file_name="../secret.jpg")
_kind("COCO: file name of another machine", _coco_image, file_name="C:\\data\\7.jpg")
_kind("COCO: file name in another case", _coco_image, file_name="7.JPG")
_kind(
  "COCO: file under two ids",
  _coco,
  images=[coco_files.image_entry(8, file_name="7.jpg")],
  num_images=5,
)
_kind("COCO: size of another image", _coco_image, width=41)
_kind("COCO: size that is no number", _coco_image, height="20 px")
_kind("COCO: size missing", _coco_image, height=None, width=None)
_kind("COCO: size that is not told", _coco_image, height=-1, width=-1)
_kind("COCO: annotated classes that are no list", _coco_image, annotated_classes="cat")
_kind("COCO: annotated class that is no category", _coco_image, annotated_classes=["bird", 3])
_kind("COCO: annotation that is no object", _coco, "cat")
_kind("COCO: annotation of no image", _coco_object, image_id=99)
_kind("COCO: annotation without an image", _coco_object, image_id=None)
_kind("COCO: annotation id twice", _coco, coco_files.annotation_entry(7))
_kind("COCO: annotation id missing", _coco_object, id=None)
_kind("COCO: unknown category", _coco_object, category_id=4)
_kind(
  "COCO: box of a class that is not annotated",
  _coco,
  entry=coco_files.image_entry(annotated_classes=["dog"]),
  categories=coco_files.CATEGORIES[:2],
)
_kind("COCO: category id that is text", _coco_object, category_id="3")
_kind("COCO: box missing", _coco_object, bbox=None, segmentation=None)
_kind("COCO: box missing with a polygon", _coco_object, bbox=None)
_kind("COCO: empty list for a box", _coco_object, bbox=[], segmentation=[], category_id=0)
_kind("COCO: box of three numbers", _coco_object, bbox=[1, 2, 3])
_kind("COCO: box with text", _coco_object, bbox=[1, "2", 3, 4])
_kind("COCO: box with NaN", _coco_object, bbox=[1, float("nan"), 3, 4])
_kind("COCO: negative width", _coco_object, bbox=[9, 2, -3, 4])
_kind("COCO: empty box", _coco_object, bbox=[9, 2, 3, 0])
_kind("COCO: box outside the image", _coco_object, bbox=[30, 2, 30, 4])
_kind("COCO: box a pixel too far", _coco_object, bbox=[30, 2, 11, 9])
_kind("COCO: box in fractions of the image", _coco_object, bbox=[0.1, 0.2, 0.3, 0.4])
_kind("COCO: iscrowd other than 0 and 1", _coco_object, iscrowd=2)
_kind("COCO: negative area", _coco_object, area=-5)
_kind("COCO: fields that are not told", _coco_object, iscrowd="null", area=-1, difficult="")
_kind("COCO: integer above 63 bits", _coco_image, phash=2**64 - 1)

# Images, in a PASCAL VOC folder.

_kind("image: empty file", _image, b"")
_kind("image: JPEG cut short", _image, _jpeg()[:-40])
_kind("image: JPEG without its end marker", _image, _jpeg()[:-2])
_kind("image: JPEG with zeros within", _photo, jpeg_damage.zeroed)
_kind("image: JPEG with bytes cut out", _photo, jpeg_damage.cut_within)
_kind("image: JPEG that ends too early", _photo, jpeg_damage.cut_and_ended)
_kind("image: JPEG with bytes before its end marker", _photo, jpeg_damage.with_bytes_left)
_kind("image: JPEG filled up before its end marker", _photo, jpeg_damage.padded, bytes(500))
_kind("image: JPEG without a restart marker", _photo, jpeg_damage.without_a_restart)
_kind("image: JPEG with bytes before one", _photo, jpeg_damage.with_bytes_before_a_restart)
_kind("image: JPEG with bytes between segments", _photo, jpeg_damage.with_bytes_between)
_kind("image: PNG cut short", _image, _png()[:-20], "png")
_kind("image: HTML called .jpg", _image, b"<!DOCTYPE html><html>404</html>")
_kind(
  "image: animated GIF called .jpg",
  _image,
  voc_files.image_bytes(
    voc_files.picture(20, 40), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20))]
  ),
)
_kind(
  "image: TIFF of two pages",
  _image,
  voc_files.image_bytes(
    voc_files.picture(20, 40), "TIFF", save_all=True, append_images=[Image.new("RGB", (40, 20))]
  ),
  "tif",
)
_kind(
  "image: pixels of 32 bits",
  _image,
  voc_files.image_bytes(Image.fromarray(np.ones([20, 40], np.float32)), "TIFF"),
  "tif",
)
_kind("image: no pixels", _image, _png_with_size(0, 0), "png")
_kind("image: header of a bomb", _image, _png_with_size(60_000, 60_000), "png")
_kind("image: JPEG of a thousand scans", _image, costly_images.jpeg(1000))
_kind("image: PNG of a hundred compressed texts", _image, costly_images.png(100), "png")
_kind("image: GIF of blocks of all sizes", _image, costly_images.gif([[b"a", b"aa"] * 2000]), "gif")
_kind("image: TIFF of tags of one place", _image, costly_images.tiff(100, 200), "tif")
_kind("image: a pipe", _pipe)
_kind(
  "image: PNG of 16 bits",
  _image,
  voc_files.image_bytes(Image.fromarray(np.full([20, 40], 40_000, np.uint16)), "PNG"),
  "png",
)
_kind("image: CMYK JPEG", _image, voc_files.image_bytes(voc_files.picture(20, 40).convert("CMYK")))
_kind("image: grey JPEG", _image, voc_files.image_bytes(voc_files.picture(20, 40).convert("L")))
_kind("image: PNG with transparency", _image, _png("RGBA"), "png")
_kind("image: EXIF-rotated", _image, _jpeg(exif=voc_files.exif(6)))

# What converts without a word and yet looks wrong.


def _looks_wrong(
  folder: pathlib.Path, *objects: str, config: str | None = None, **flags: Sequence[str]
) -> Made:
  if config is not None:
    (folder / "run.yaml").write_text(config)
    flags = {"validator_flags": [f"--config_file={folder / 'run.yaml'}"]}
  content = voc_files.annotation_xml([voc_files.object_xml("cat"), *objects])
  return _voc(folder, {_XML: content}, **flags)


_kind("box drawn twice", _looks_wrong, voc_files.object_xml("cat"))
_kind("box of two classes", _looks_wrong, voc_files.object_xml("dog"))
_kind("box that vanishes when resized", _looks_wrong, voc_files.object_xml("cat", {"xmax": 2.01}))
_kind(
  "box smaller than the anchors",
  _looks_wrong,
  voc_files.object_xml("cat", {"xmin": 20, "xmax": 22, "ymax": 6}),
)
_kind(
  "more boxes than max_num_boxes",
  _looks_wrong,
  voc_files.object_xml("cat", {"xmin": 20, "xmax": 30}),
  config="task: {train_data: {max_num_boxes: 1}}",
)
_kind("class with few boxes", _looks_wrong, validator_flags=["--min_boxes_per_class=5"])
_kind("image twice", _voc, {"bad.jpg": _jpeg()})


# Records.


def _records(
  folder: pathlib.Path, change: Callable[[pathlib.Path], object], num_images: int = 4
) -> Made:
  """Four good records in two shards of two each, then `change`d."""
  made = _voc(folder / "voc")
  records = folder / "records"
  status = pascal_voc.main([*made.flags, f"--output_dir={records}", "--num_shards=2"])
  assert status == 0
  change(records)
  return Made([f"--records={records}"], num_images)


_FIRST, _SECOND = (schema.shard_file("train", index, 2) for index in range(2))


def _flip(place: int) -> Callable[[pathlib.Path], None]:
  """Flips a bit of the second shard."""

  def change(records: pathlib.Path) -> None:
    content = bytearray((records / _SECOND).read_bytes())
    content[place] ^= 1
    (records / _SECOND).write_bytes(content)

  return change


def _rewrite(
  change: Callable[[bytes], bytes], name: str = _SECOND
) -> Callable[[pathlib.Path], None]:
  return lambda records: (records / name).write_bytes(change((records / name).read_bytes()))


def _contents(records: pathlib.Path) -> list[bytes]:
  return list(tf.data.TFRecordDataset(str(records / _SECOND)).as_numpy_iterator())


def _write(records: pathlib.Path, contents: Sequence[bytes], name: str = _SECOND) -> None:
  with tf.io.TFRecordWriter(str(records / name)) as writer:
    for content in contents:
      writer.write(content)


def _first_of_second(change: Callable[[bytes], bytes]) -> Callable[[pathlib.Path], None]:
  """Puts another record in the place of the first one of the second shard."""

  def change_records(records: pathlib.Path) -> None:
    first, *others = _contents(records)
    _write(records, [change(first), *others])

  return change_records


def _feature(key: str, kind: str, values: Sequence[Any]) -> Callable[[pathlib.Path], None]:
  """Gives a key of that record other values."""

  def change(content: bytes) -> bytes:
    example = tf.train.Example.FromString(content)
    del example.features.feature[key]
    getattr(example.features.feature[key], kind).value.extend(values)
    return example.SerializeToString()

  return _first_of_second(change)


def _picture(
  encoded: bytes, image_format: str = "jpeg", height: int = 20
) -> Callable[[pathlib.Path], None]:
  """Gives that record another image."""
  example = record_writer.make_example(
    encoded=encoded,
    image_format=image_format,
    height=height,
    width=40,
    filename="bad.jpg",
    source_id="bad",
    boxes_orig=[(4, 2, 14, 12)],
    class_ids=[1],
    class_names=["cat"],
    difficult=[0],
    truncated=[0],
  )
  return _first_of_second(lambda _: example.SerializeToString())


def _manifest(change: Callable[[dict], object]) -> Callable[[pathlib.Path], None]:
  def change_manifest(records: pathlib.Path) -> None:
    path = records / "manifest_train.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))

  return change_manifest


def _shards_of_another_conversion(records: pathlib.Path) -> None:
  for index in range(3):
    _write(records, _contents(records)[:0], schema.shard_file("train", index, 3))


def _twice(records: pathlib.Path) -> None:
  """The first of its records in the place of the second one too."""
  _write(records, _contents(records)[:1] * 2)


def _other_name(records: pathlib.Path) -> None:
  """The picture of one record under the name of another."""
  first, second = _contents(records)
  example, other = map(tf.train.Example.FromString, (first, second))
  for key in (schema.IMAGE_ENCODED, schema.IMAGE_SHA256):
    example.features.feature[key].CopyFrom(other.features.feature[key])
  _write(records, [example.SerializeToString(), second])


_kind("records: file cut short", _records, _rewrite(lambda content: content[:-5]))
_kind("records: bit flipped in a content", _records, _flip(500))
_kind("records: bit flipped in a length", _records, _flip(3))
_kind("records: no TFRecord file", _records, _rewrite(lambda _: b"PK" + bytes(999)), 3)
_kind("records: compressed", _records, _rewrite(gzip.compress), 3)
_kind("records: no tf.Example", _records, _first_of_second(lambda _: b"<html></html>"))
_kind("records: empty record", _records, _first_of_second(lambda _: b""))
_kind("records: no image", _records, _feature(schema.IMAGE_ENCODED, "bytes_list", []))
_kind("records: no source id", _records, _feature(schema.IMAGE_SOURCE_ID, "bytes_list", []))
_kind("records: no height", _records, _feature(schema.IMAGE_HEIGHT, "int64_list", []))
_kind("records: list of another type", _records, _feature(schema.OBJECT_LABEL, "float_list", [1.0]))
_kind("records: lists of two lengths", _records, _feature(schema.OBJECT_YMAX, "float_list", []))
_kind("records: label 0", _records, _feature(schema.OBJECT_LABEL, "int64_list", [0]))
_kind("records: label past the map", _records, _feature(schema.OBJECT_LABEL, "int64_list", [2]))
_kind(
  "records: text of another class", _records, _feature(schema.OBJECT_TEXT, "bytes_list", [b"cow"])
)
_kind("records: box outside", _records, _feature(schema.OBJECT_XMAX, "float_list", [1.5]))
_kind("records: box NaN", _records, _feature(schema.OBJECT_YMIN, "float_list", [float("nan")]))
_kind("records: empty box", _records, _feature(schema.OBJECT_YMAX, "float_list", [0.1]))
_kind(
  "records: flag other than 0 and 1", _records, _feature(schema.OBJECT_DIFFICULT, "int64_list", [7])
)
_kind("records: image cut short", _records, _picture(_jpeg()[:-40]))
_kind(
  "records: image with zeros within", _records, _picture(jpeg_damage.zeroed(jpeg_damage.photo()))
)
_kind("records: image is HTML", _records, _picture(b"<html></html>"))
_kind("records: image of a thousand scans", _records, _picture(costly_images.jpeg(1000)))
_kind(
  "records: image is a GIF",
  _records,
  _picture(voc_files.image_bytes(voc_files.picture(20, 40), "GIF")),
)
_kind("records: image of another size", _records, _picture(_jpeg(50), height=21))
_kind(
  "records: digest of another image",
  _records,
  _feature(schema.IMAGE_SHA256, "bytes_list", [b"0" * 64]),
)
_kind("records: format of another image", _records, _picture(_jpeg(50), "png"))
_kind(
  "records: grey image",
  _records,
  _picture(voc_files.image_bytes(voc_files.picture(20, 40).convert("L"))),
)
_kind(
  "records: CMYK image",
  _records,
  _picture(voc_files.image_bytes(voc_files.picture(20, 40).convert("CMYK"))),
)
_kind(
  "records: image of 16 bits",
  _records,
  _picture(voc_files.image_bytes(Image.fromarray(np.ones([20, 40], np.uint16)), "PNG"), "png"),
)
_kind("records: EXIF-rotated image", _records, _picture(_jpeg(exif=voc_files.exif(6))))
_kind("records: source id twice", _records, _twice)
_kind("records: image twice", _records, _other_name)
_kind("records: shard missing", _records, lambda records: (records / _FIRST).unlink(), 2)
_kind("records: shards of two conversions", _records, _shards_of_another_conversion)
_kind("records: empty shard", _records, lambda records: (records / _FIRST).write_bytes(b""), 2)
_kind(
  "records: manifest missing", _records, lambda records: (records / "manifest_train.json").unlink()
)
_kind(
  "records: manifest damaged",
  _records,
  lambda records: (records / "manifest_train.json").write_bytes(b"{"),
)
_kind(
  "records: manifest of a number",
  _records,
  lambda records: (records / "manifest_train.json").write_bytes(b"3"),
)
_kind(
  "records: manifest with other numbers",
  _records,
  _manifest(lambda manifest: manifest["shards"][0].update(num_images=5)),
)
_kind(
  "records: manifest with other classes",
  _records,
  _manifest(lambda manifest: manifest.update(classes=["cow"])),
)

# Settings.


def _label_map(folder: pathlib.Path, content: bytes | None, num_images: int = 0) -> Made:
  made = _objects(folder, voc_files.object_xml("dog", {"xmin": 3}))
  if content is not None:
    (folder / "classes.txt").write_bytes(content)
  return Made([*made.flags, f"--label_map={folder / 'classes.txt'}"], num_images)


def _other_classes(folder: pathlib.Path) -> Made:
  (folder / "there").mkdir()
  (folder / "there/label_map.txt").write_text("cow\n")
  (folder / "classes.txt").write_text("cat\n")
  made = _voc(folder)
  flags = [f"--label_map={folder / 'classes.txt'}", f"--output_dir={folder / 'there'}"]
  return Made(made.flags, 0, converter_flags=flags)


def _config(folder: pathlib.Path, content: bytes | None) -> Made:
  if content is not None:
    (folder / "run.yaml").write_bytes(content)
  return _voc(folder, validator_flags=[f"--config_file={folder / 'run.yaml'}"])


_kind("label map: empty", _label_map, b"")
_kind("label map: class twice", _label_map, b"cat\ndog\ncat\n")
_kind("label map: blank line", _label_map, b"cat\n\ndog\n")
_kind("label map: background", _label_map, b"background\ncat\n")
_kind("label map: no text", _label_map, b"cat\n\xff\xfe\n")
_kind("label map: missing", _label_map, None)
_kind("label map: lacks a class", _label_map, b"dog\n", 4)
_kind("label map: differs from the records' there", _other_classes)
_kind("settings: misspelt field", _config, b"task: {train_data: {input_width: 2}}")
_kind("settings: value of another type", _config, b"task: {train_data: {short_side: large}}")
_kind("settings: value out of range", _config, b"task: {train_data: {short_side: 0}}")
_kind("settings: impossible input size", _config, b"task: {train_data: {input_size: [64]}}")
_kind("settings: no YAML", _config, b"task: [")
_kind("settings: file missing", _config, None)
