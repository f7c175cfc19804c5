"""The report on a faulty step."""

import contextlib
import types

from mtl_ssl_tf.training import nonfinite, recovery
from tests.tasks import tiny


def test_the_images_are_those_of_the_batch_at_its_size(folder, task, tmp_path, monkeypatch):
  data = tiny.experiment(folder).task.train_data
  asked, saved = [], []
  monkeypatch.setattr(task, "image_ids", lambda *args: asked.append(args) or ["a.jpg"])
  monkeypatch.setattr(
    task, "build_inputs", lambda data, first_batch: [f"batch {first_batch} of {data.input_path}"]
  )
  monkeypatch.setattr(nonfinite, "take_apart", lambda *_, **__: ({"loss": float("nan")}, {}))
  monkeypatch.setattr(recovery.Recovery, "_save", lambda _, *args: saved.append(args) or "folder")
  monkeypatch.setattr(recovery.strategies, "compiles_whole", lambda *_: False)
  config = types.SimpleNamespace(
    task=types.SimpleNamespace(train_data=data), runtime=types.SimpleNamespace()
  )
  trainer = types.SimpleNamespace(
    task=task,
    config=config,
    model=None,
    optimizer=None,
    strategy=types.SimpleNamespace(scope=contextlib.nullcontext),
    train_dataset=[None],
    rewind_inputs=lambda: None,
    checkpoint=types.SimpleNamespace(weights=types.SimpleNamespace(fault=lambda: None)),
  )

  text = recovery.Recovery(trainer, str(tmp_path))._tell(6, 3)
  assert asked == [(data, 3)]
  assert "images: 'a.jpg'" in text
  # The number of the batch need not be that of the step, as batches may have been left out.
  ((step, batch, inputs, report),) = saved
  assert (step, batch, inputs) == (7, 3, f"batch 3 of {data.input_path}")
  assert text == f"{report}\nto examine it: python -m mtl_ssl_tf.tasks.replay folder"
