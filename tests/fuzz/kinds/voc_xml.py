"""XML annotations of PASCAL VOC, converted, and what ElementTree alone reads in them."""

import math
import random
from xml.etree import ElementTree

import numpy as np

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import examples
from mtl_ssl_tf.data.sources import voc_source
from tests.data import voc_files
from tests.fuzz import mutations, odd_values, outcomes
from tests.fuzz.kinds import base, records

_FILE = "Annotations/a.xml"
_CLASSES = ("cat", "dog", "größe", "猫")
_HEIGHT, _WIDTH = 20, 40
_NAMES = (
  "cat",
  "dog",
  "größe",
  "&#x732b;",
  "<![CDATA[cat]]>",
  " cat\n",
  "c&amp;t",
  "&lt;",
  "&cat;",
)
_NUMBERS = (
  *("1", "2", "7", "12", "19.5", "20", "40", "39.999999", "-1", "-0", "+3", "0", "1e1", "1E+1"),
  *(
    "021",
    "1.",
    ".5",
    "1_0",
    "٣",
    "１２",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 400,
    "0x10",
    "12px",
  ),
  *("", " 5 ", "5\n", "5<b/>", "5<b>6</b>7", "<b>5</b>", "5<!-- 6 -->7", "<![CDATA[5]]>", "&#53;"),
  *("1,5", "1;2", "--3", "1e", "e1", "5<?pi 6?>", "&five;", "2147483648", "1e-320", "4\u00a0"),
)
_FLAGS = ("0", "1", "2", "-1", "true", "No", "Unspecified", "", "0.5", "1.0", "nan", "maybe", "01")
_HEADS = (
  *("", "", "", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-8"?>'),
  *('<?xml version="1.1"?>', '<?xml version="1.0" standalone="yes"?>', "<!-- a -->\n", "\n \t"),
  "<!DOCTYPE annotation>",
  '<!DOCTYPE annotation [<!ENTITY cat "dog"><!ENTITY five "5">]>',
  '<!DOCTYPE annotation [<!ENTITY cat SYSTEM "file:///etc/hostname">]>',
  '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd">',
  '<!DOCTYPE annotation [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]>',
  '<!DOCTYPE annotation [<!ATTLIST object name CDATA "cat">]>',
  "<!DOCTYPE annotation [<!ELEMENT annotation ANY>]>",
  '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
  '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY cat "&c;&c;&c;&c;&c;&c;&c;&c;">]>',
  *(
    f'<?xml version="1.0" encoding="{name}"?>'
    for name in (
      *("utf-16", "latin-1", "ascii", "cp1252", "utf-7", "utf-32", "shift_jis", "idna", "hex"),
      *(
        "rot13",
        "zlib",
        "punycode",
        "unicode_escape",
        "undefined",
        "no-such",
        "utf-8-sig",
        "ucs-4",
      ),
    )
  ),
)
_OTHERS = (
  *("<pose>Left</pose>", "<part><name>head</name><bndbox/></part>", "<a><b><c/></b></a>", "text"),
  *("<object/>", "<bndbox/>", "<polygon><x1>1</x1></polygon>", '<o xmin="1" ymin="2"/>', "]]>"),
  *(
    "<x:y/>",
    '<x:y xmlns:x="u"/>',
    "<?pi?>",
    "<!---->",
    "<segmented>0</segmented>",
    "&#0;",
    "\x01",
  ),
  *("<filename>b.jpg</filename>", "<filename>../../../etc/passwd</filename>", "<size/>"),
)


class Cases(base.Kind):
  """See above."""

  name = "xml"
  about = "PASCAL VOC annotations"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    voc_files.write(scratch, {"a.xml": b""}, "train")
    self._seeds = (
      voc_files.annotation_xml([voc_files.object_xml(), voc_files.object_xml("dog")]),
      voc_files.annotation_xml(
        [voc_files.object_xml("cat", {"xmin": 0.5, "xmax": 41}, pose="Left", difficult=1)],
        filename="a.jpg",
      ),
      b'<?xml version="1.0" encoding="utf-8"?>\n<annotation verified="yes">\n  <size><width>40'
      b"</width><height>20</height><depth>3</depth></size>\n  <object>\n    <name>\xe7\x8c\xab"
      b"</name><truncated>1</truncated>\n    <bndbox><xmin>3</xmin><ymin>2</ymin>"
      b"<xmax>9</xmax><ymax>8</ymax></bndbox>\n  </object>\n</annotation>\n",
      voc_files.annotation_xml([voc_files.object_xml("größe", {"ymin": 14, "ymax": 4})], size=None),
    )

  def seeds(self) -> list[base.Files]:
    return [{_FILE: content} for content in self._seeds]

  def make(self, rng: random.Random) -> base.Files:
    if rng.random() < 0.25:
      words = [text.encode() for text in (*_OTHERS, *_NUMBERS, *_HEADS)]
      return {_FILE: mutations.mutate(rng, self._seeds, words)}
    text = _document(rng)
    content = odd_values.encode(rng, text)
    if rng.random() < 0.1:
      content = mutations.mutate(rng, [content])
    return {_FILE: content}

  def check(self, files: base.Files) -> bool:
    self.write(files)
    source = voc_source.open_split(self.scratch, "train").with_classes(_CLASSES, "here")
    image = source.read_image(0)
    source.class_names(0)
    source.signature(0)
    stated = source.stated_boxes(0)
    converted = examples.convert(source, 0)
    for fault in converted.faults:
      outcomes.check_message(str(fault))
    if image.image_file is not None:
      outcomes.check_equal(image.image_file, "JPEGImages/a.jpg", "the image")
    if image.objects is None:
      return False
    root = ElementTree.fromstring(files[_FILE])
    objects = [child for child in root if child.tag == "object"]
    numbers = {item.number for item in image.objects}
    faulty = {fault.object_number for fault in converted.faults}
    outcomes.check_equal(
      numbers | faulty - {None}, set(range(1, len(objects) + 1)), "numbers of the objects"
    )
    for item in image.objects:
      _check_object(item, objects[item.number - 1], stated)
    if converted.example is not None:
      _check_record(converted.example, objects, faulty, image.size)
      records.check_sound(converted.example, _CLASSES)
    return bool(image.objects)


def _check_object(item, element: ElementTree.Element, stated) -> None:
  outcomes.check_equal(item.name, _text(element, "name").strip(), "name")
  (box,) = (child for child in element if child.tag == "bndbox")
  sides = [float(_text(box, side)) for side in ("ymin", "xmin", "ymax", "xmax")]
  outcomes.check(all(map(math.isfinite, sides)), f"box {sides}")
  outcomes.check_equal(list(stated[item.number]), sides, "box as it is stated")
  ordered = [*map(min, sides[:2], sides[2:]), *map(max, sides[:2], sides[2:])]
  outcomes.check_equal(list(item.box), ordered, "box")
  flag = _text(element, "difficult").strip().lower()
  if flag in ("0", "1"):
    outcomes.check_equal(str(item.difficult), flag, "difficult")
  else:
    outcomes.check_equal(item.difficult, int(flag in ("yes", "true", "1.0", "01")), "difficult")


def _check_record(example, objects, faulty, size) -> None:
  feature = example.features.feature
  numbers = [number + 1 for number in feature[schema.OBJECT_ID].int64_list.value]
  wanted = [number for number in range(1, len(objects) + 1) if number not in faulty]
  outcomes.check_equal(numbers, wanted, "objects of the record")
  if size is not None:
    outcomes.check_equal(size, (_HEIGHT, _WIDTH), "size")
  names = [text.decode() for text in feature[schema.OBJECT_TEXT].bytes_list.value]
  sides = {"ymin": _HEIGHT, "xmin": _WIDTH, "ymax": _HEIGHT, "xmax": _WIDTH}
  boxes = {side: feature[f"{schema.OBJECT_PREFIX}bbox/{side}"].float_list.value for side in sides}
  for row, number in enumerate(numbers):
    element = objects[number - 1]
    outcomes.check_equal(names[row], _text(element, "name").strip(), "name in the record")
    label = feature[schema.OBJECT_LABEL].int64_list.value[row]
    outcomes.check_equal(_CLASSES[label - 1], names[row], "label in the record")
    (box,) = (child for child in element if child.tag == "bndbox")
    plain = {side: float(_text(box, side)) for side in sides}
    for low, high in (("ymin", "ymax"), ("xmin", "xmax")):
      plain[low], plain[high] = sorted((plain[low], plain[high]))
    for side, limit in sides.items():
      expected = np.float32(min(max(plain[side], 0.0), limit) / limit)
      outcomes.check_equal(np.float32(boxes[side][row]), expected, f"{side} in the record")


def _text(element: ElementTree.Element, tag: str) -> str:
  """All text of the first child of that name; of a child that holds elements, theirs too."""
  child = next((child for child in element if child.tag == tag), None)
  return "" if child is None else "".join(child.itertext())


def _document(rng: random.Random) -> str:
  """An annotation of odd parts."""
  parts = []
  if rng.random() < 0.8:
    width, height = (rng.choice(_NUMBERS) if rng.random() < 0.1 else side for side in ("40", "20"))
    parts.append(f"<size><width>{width}</width><height>{height}</height></size>")
  parts += [_object(rng) for _ in range(rng.randint(0, 3))]
  if rng.random() < 0.2:
    parts.append(rng.choice(_OTHERS))
  if rng.random() < 0.05:
    levels = rng.choice((5, 500, 20_000))
    parts.append("<a>" * levels + rng.choice(("", "<bndbox/>")) + "</a>" * levels)
  rng.shuffle(parts)
  root = rng.choice(("annotation",) * 40 + ("annotations", "Annotation", "html"))
  attribute = rng.choice(("",) * 30 + (' xmlns="u"', ' a="1" a="2"', " a", ' xmlns:x="u"'))
  head = rng.choice(_HEADS) if rng.random() < 0.2 else ""
  return f"{head}<{root}{attribute}>{''.join(parts)}</{root}>{rng.choice(('',) * 60 + _OTHERS)}"


def _object(rng: random.Random) -> str:
  odd = rng.random() < 0.3
  name = (
    rng.choice(odd_values.TEXTS + _NAMES) if odd and rng.random() < 0.4 else rng.choice(_NAMES[:7])
  )
  sides = {"xmin": "2", "ymin": "4", "xmax": "12.5", "ymax": "14"}
  for side in sides:
    if odd and rng.random() < 0.25:
      sides[side] = rng.choice(_NUMBERS)
  inner = [f"<{side}>{value}</{side}>" for side, value in sides.items()]
  for pieces in (inner,) * (rng.random() < 0.1):
    pieces.insert(rng.randrange(5), rng.choice((*pieces, "<xmin>1</xmin>", "<x/>", "text")))
  parts = [f"<name>{name}</name>", f"<bndbox>{''.join(inner)}</bndbox>"]
  if rng.random() < 0.4:
    parts.append(f"<{rng.choice(('difficult', 'truncated'))}>{rng.choice(_FLAGS)}</difficult>")
    if "<truncated>" in parts[-1]:
      parts[-1] = parts[-1].replace("</difficult>", "</truncated>")
  if rng.random() < 0.1:
    parts.append(rng.choice((*parts, *_OTHERS)))
  if rng.random() < 0.1:
    del parts[rng.randrange(len(parts))]
  rng.shuffle(parts)
  return f"<object>{''.join(parts)}</object>"
