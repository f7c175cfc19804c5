"""Records and a task for all tests of this folder: those of `tests/tasks`."""

from tests.tasks.conftest import _folder, _task  # noqa: F401 - fixtures
