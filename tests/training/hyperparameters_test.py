"""Rows of TensorBoard's HParams tab, as TensorBoard itself reads them from folders of runs."""

import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from mtl_ssl_tf.tasks import detection_settings
from mtl_ssl_tf.training import driver, hyperparameters
from mtl_ssl_tf.visualization import curves
from tests.tasks import tiny
from tests.training import toy_task

_METRICS = ("last/error", "best/error")


def table(folder, metrics=_METRICS) -> dict[str, tuple[dict, dict, int]]:
  """By the trial's folder: hyperparameters, metrics and status, as the tab shows them."""
  multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
  multiplexer.Reload()
  provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
  backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
  request = context.RequestContext()
  experiment = backend.experiment_from_metadata(
    request,
    "",
    True,
    backend.hparams_metadata(request, ""),
    backend.hparams_from_data_provider(request, "", None),
  )
  assert {info.name.tag for info in experiment.metric_infos} == set(metrics)
  asked = api_pb2.ListSessionGroupsRequest(
    start_index=0,
    slice_size=100,
    allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING],
    col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    + [api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos],
    include_metrics=True,
  )
  found = list_session_groups.Handler(request, backend, "", asked).run()
  rows = {}
  for group in found.session_groups:
    (session,) = group.sessions
    settings = {
      name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()
    }
    figures = {
      value.name.tag: (value.training_step, value.value) for value in session.metric_values
    }
    rows[session.name] = settings, figures, session.status
  return rows


@pytest.fixture(name="folder")
def _folder(tmp_path):
  toy_task.write_records(tmp_path)
  return tmp_path


def rate(value: float) -> dict:
  learning_rate = {"type": "constant", "constant": {"learning_rate": value}}
  return {"optimizer_config": {"learning_rate": learning_rate}}


def test_each_run_is_a_row(folder):
  steps = {"train_steps": 40, "validation_interval": 20}
  for name, value in (("a", 0.01), ("b", 0.02)):
    toy_task.run(folder, name, {"trainer": steps | rate(value)})
  rows = table(folder)
  assert set(rows) == {"a/hyperparameters", "b/hyperparameters"}
  for name, value in (("a", 0.01), ("b", 0.02)):
    settings, figures, status = rows[f"{name}/hyperparameters"]
    assert settings == {
      "learning_rate": value,
      "runtime.enable_xla": False,
      "runtime.mixed_precision_dtype": "none",
      "task.train_data.global_batch_size": 4,
      "trainer.optimizer_config.learning_rate.type": "constant",
      "trainer.optimizer_config.optimizer.type": "adam",
      "trainer.train_steps": 40,
    }
    evaluated = curves.read_scalars(str(folder / name))
    errors, best = evaluated["validation/error"], evaluated["validation/best_error"]
    assert figures["last/error"] == (40, pytest.approx(errors[1][-1]))
    assert figures["best/error"] == (40, pytest.approx(best[1][-1]))
    assert status == api_pb2.STATUS_SUCCESS
    # They are in other curves already.
    assert not [tag for tag in evaluated if "hyperparameters" in tag]


def test_last_and_best_figure(tmp_path):
  trial = hyperparameters.Trial(str(tmp_path / "run"), "error")
  trial.add({"error": 9.0}, 1)  # Of an evaluation without training.
  trial.end()
  assert not list(tmp_path.iterdir())
  trial.begin({"seed": 1})
  trial.add({"error": 0.5, "best_error": 0.25, "other": 7.0}, 3)
  ((settings, figures, status),) = table(tmp_path).values()
  assert settings == {"seed": 1}
  assert figures == {"last/error": (3, 0.5), "best/error": (3, 0.25)}
  assert status != api_pb2.STATUS_SUCCESS


def test_a_resumed_run_shows_what_it_has_now(folder):
  for steps, value in ((20, 0.01), (40, 0.02)):
    override = {"trainer": {"train_steps": steps, "validation_interval": 20, **rate(value)}}
    toy_task.run(folder, "run", override)
  ((settings, figures, _),) = table(folder).values()
  assert settings["learning_rate"] == 0.02 and settings["trainer.train_steps"] == 40
  assert figures["last/error"][0] == 40


def test_evaluation_alone_writes_none(folder):
  toy_task.run(folder, "run", {"trainer": {"train_steps": 20}})
  (before,) = (folder / "run" / "hyperparameters").iterdir()
  content = before.read_bytes()
  driver.run(toy_task.experiment(folder), "eval", str(folder / "run"))
  (after,) = (folder / "run" / "hyperparameters").iterdir()
  assert (after, after.read_bytes()) == (before, content)


def test_values_of_a_detector(tmp_path):
  tiny.write_records(tmp_path)
  scaling = {"learning_rate_scaling": "linear", "base_batch_size": 8}
  override = {"trainer": scaling, "task": {"auxiliary": {"closeness": {"loss_weight": 0.0}}}}
  params = tiny.experiment(tmp_path, override)
  found = hyperparameters.values(params, detection_settings.HYPERPARAMETERS)
  # Every field is one of the configuration.
  assert set(detection_settings.HYPERPARAMETERS) <= set(found)
  assert found["learning_rate"] == pytest.approx(0.01 * 2 / 8)
  assert found["task.train_data.input_size"] == "64, 96"
  assert found["task.auxiliary.closeness.loss_weight"] == 0.0
  assert found["task.auxiliary.multi_object.loss_weight"] == 1.0
  assert found["task.refinement.enabled"] is True


def test_events_outside_of_the_run_stay(tmp_path):
  name = "events.out.tfevents.1"
  for folder in ("run1", "elsewhere"):
    (tmp_path / folder / hyperparameters.FOLDER).mkdir(parents=True)
    (tmp_path / folder / hyperparameters.FOLDER / name).write_bytes(b"")
  linked = tmp_path / "linked"
  linked.mkdir()
  (linked / hyperparameters.FOLDER).symlink_to(tmp_path / "elsewhere" / hyperparameters.FOLDER)
  # As a pattern, the first is `run1`.
  for run in (tmp_path / "run[1]", linked):
    hyperparameters.Trial(str(run), "error").begin({"rate": 0.1})
  for folder in ("run1", "elsewhere"):
    assert (tmp_path / folder / hyperparameters.FOLDER / name).exists()


def test_events_of_an_earlier_start_go(tmp_path):
  run = tmp_path / "run[1]"
  (run / hyperparameters.FOLDER).mkdir(parents=True)
  old = run / hyperparameters.FOLDER / "events.out.tfevents.1"
  old.write_bytes(b"")
  hyperparameters.Trial(str(run), "error").begin({"rate": 0.1})
  assert not old.exists()
  assert len(list((run / hyperparameters.FOLDER).iterdir())) == 1
