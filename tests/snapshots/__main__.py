"""Writes the numbers down as they are now; see the package."""

import sys
import tempfile
from pathlib import Path

from tests.snapshots import scenarios

for chosen in sys.argv[1:] or scenarios.NAMES:
  with tempfile.TemporaryDirectory() as made:
    scenarios.write(chosen, Path(made))
