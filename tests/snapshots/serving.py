"""What an export answers, in each of its forms, and what is written beside it."""

import contextlib
import io
import pathlib
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

import mtl_ssl_tf
from mtl_ssl_tf import predict, terminal
from mtl_ssl_tf.serving import export_lib, score_thresholds
from tests.data import voc_files
from tests.serving import tiny_run
from tests.snapshots import summary

_THRESHOLDS = {"disc": 0.3, "ring": 0.2, "größe": 0.25}


def export(folder: pathlib.Path) -> dict[str, Any]:
  """An export with raw outputs: its signatures, its thresholds, its card and what is beside it."""
  run = _run(folder)
  thresholds = folder / "thresholds.json"
  thresholds.write_text(score_thresholds.as_json(_THRESHOLDS, step=3))
  options = export_lib.Options(
    version=4,
    raw_outputs=True,
    verify=True,
    verify_images=2,
    license="MIT",
    default_thresholds=str(thresholds),
  )
  place = pathlib.Path(export_lib.export_run(str(run), str(folder / "shop"), options=options))
  contents = _contents()
  found = _answers(tf.saved_model.load(str(place)), contents)
  detector = mtl_ssl_tf.load(place)
  for name, threshold in (("by class", None), ("at 0.22", 0.22)):
    for number, one in enumerate(detector(list(map(_opened, contents)), score_threshold=threshold)):
      found |= {f"loaded/{name}/{number}/{key}": value for key, value in one.items()}
  found |= _written(folder / "shop")
  return found


def answers_of_one(folder: pathlib.Path) -> dict[str, Any]:
  """An export of the latest checkpoint, for one image at a time, whose crops are products."""
  run = _run(folder)
  options = export_lib.Options(batch_size=1, crop_method="matmul", verify=False)
  latest = str(run / f"ckpt-{tiny_run.LATEST_STEP}")
  place = export_lib.export_run(str(run), str(folder / "shop"), checkpoint=latest, options=options)
  found = _answers(tf.saved_model.load(place), _contents()[:1])
  return found | _written(folder / "shop")


def predicted(folder: pathlib.Path) -> dict[str, Any]:
  """Result files of all kinds, of the best checkpoint of a run."""
  run = _run(folder)
  (folder / "in" / "deep").mkdir(parents=True)
  for number, content in enumerate(_contents()):
    place = folder / "in" / ("deep" if number % 2 else "") / f"{number}.{_ending(content)}"
    place.write_bytes(content)
  flags = [f"--model_dir={run}", f"--input={folder / 'in'}", f"--output_dir={folder / 'out'}"]
  flags += ["--outputs", "drawn", "dataset", "results", "voc", "--batch_size=2"]
  with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    terminal.set_up()
    status = predict.main([*flags, "--score_threshold=0.2", "--draw_threshold=0.27"])
  return {"status": float(status), **_written(folder / "out")}


SCENARIOS: dict[str, Callable[[pathlib.Path], dict[str, Any]]] = {
  "export": export,
  "export_of_one": answers_of_one,
  "predicted": predicted,
}


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  """What a scenario answers or writes, in a folder of its own."""
  return summary.of(SCENARIOS[name](folder))


def _run(folder: pathlib.Path) -> pathlib.Path:
  (folder / "run").mkdir()
  return tiny_run.write(folder / "run")


def _contents() -> list[bytes]:
  """Image files of several formats and sizes, one of them turned."""
  first, second, third = map(Image.fromarray, tiny_run.images())
  return [
    voc_files.image_bytes(first, quality=95),
    voc_files.image_bytes(second, exif=voc_files.exif(6)),
    voc_files.image_bytes(third, "PNG"),
    voc_files.image_bytes(third.quantize(32), "BMP"),
  ]


def _opened(content: bytes) -> Image.Image:
  return Image.open(io.BytesIO(content))


def _ending(content: bytes) -> str:
  return {b"\xff\xd8": "jpg", b"\x89P": "png", b"BM": "bmp"}[content[:2]]


def _answers(loaded: Any, contents: list[bytes]) -> dict[str, Any]:
  """The outputs of every signature, each called as a client does."""
  found: dict[str, Any] = {}
  image = tiny_run.images()[0]
  arguments = {
    "serving_default": {"images": np.repeat(image[np.newaxis], len(contents), axis=0)},
    "serving_bytes": {"encoded_images": np.array(contents, object)},
    "serving_tf_example": {"tf_examples": np.array(list(map(_example, contents)), object)},
  }
  for name, function in loaded.signatures.items():
    found[f"{name}/inputs"] = str(sorted(function.structured_input_signature[1]))
    if name in arguments:
      given = {key: tf.constant(value) for key, value in arguments[name].items()}
      found |= {f"{name}/{key}": value for key, value in function(**given).items()}
  return found


def _example(content: bytes) -> bytes:
  example = tf.train.Example()
  example.features.feature["image/encoded"].bytes_list.value.append(content)
  return example.SerializeToString()


def _written(folder: pathlib.Path) -> dict[str, Any]:
  """The files of a folder: of texts the figures and all else, pictures made small, or the name."""
  found: dict[str, Any] = {}
  for path in sorted(folder.rglob("*")):
    name = str(path.relative_to(folder))
    if not path.is_file():
      continue
    if path.suffix in (".jpg", ".png"):
      with Image.open(path) as image:
        found[name] = np.asarray(image.convert("RGB").resize((9, 9)))
    elif path.suffix in (".json", ".xml", ".txt", ".config", ".pbtxt", ".csv"):
      text = path.read_text().replace(str(folder.parent), "")
      found[f"{name} figures"] = np.array(re.findall(r"-?\d+\.\d+", text), np.float64)
      words = re.sub(r"-?\d+\.\d+(e-?\d+)?", "#", text)
      found[f"{name} words"] = f"{len(words)} characters, {zlib.crc32(words.encode()):x}"
    else:
      found[name] = "a file"
  return found
