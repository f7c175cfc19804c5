"""A headless Chromium that opens a page, for tests of what a reader sees.

Speaks the DevTools protocol through pipes, so that nothing has to be installed besides.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = ("--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--no-sandbox")
# A browser reads its pipe at 3 and writes to that at 4.
_START = """
import os, sys
pipes = [os.dup(int(number)) for number in sys.argv[1:3]]
for number, pipe in zip((3, 4), pipes):
  os.dup2(pipe, number)
  os.set_inheritable(number, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
# Whatever sticks out of the page to the right, with how far.
_OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(e => !e.closest(".wide, svg, .figure") && e.getBoundingClientRect().right > innerWidth)
  .map(e => e.tagName + "." + e.className)
"""


class Page:
  """An open page, by the DevTools protocol.

  Attributes:
    complaints: what the browser wrote to its console, and exceptions.
  """

  def __init__(self, to_browser: int, from_browser: int):
    self._to_browser, self._from_browser = to_browser, from_browser
    self._buffer, self._count, self._session = b"", 0, None
    self.complaints: list[str] = []

  def open(self, path: pathlib.Path, width: int, height: int) -> None:
    """Opens a file in a window of so many pixels, and waits until it is loaded."""
    if self._session is None:
      target = self._call("Target.createTarget", url="about:blank")["targetId"]
      attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
      self._session = attached["sessionId"]
      for domain in ("Page", "Runtime", "Log"):
        self._call(f"{domain}.enable")
    self.resize(width, height)
    self._call("Page.navigate", url=path.resolve().as_uri())
    while self._read().get("method") != "Page.loadEventFired":
      pass

  def resize(self, width: int, height: int) -> None:
    """Gives the window so many pixels, as a phone has them."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    self._call("Emulation.setDeviceMetricsOverride", **metrics)

  def evaluate(self, expression: str) -> Any:
    """Returns the value of a JavaScript expression, whatever the page forbids itself."""
    done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
    assert "exceptionDetails" not in done, done
    return done["result"].get("value")

  def press(self, key: str, text: str = "") -> None:
    """Presses and releases a key, such as `Tab`."""
    for kind in ("keyDown", "keyUp"):
      self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text)

  def set_dark(self, dark: bool) -> None:
    """Has the reader ask for dark or light pages."""
    value = "dark" if dark else "light"
    feature = {"name": "prefers-color-scheme", "value": value}
    self._call("Emulation.setEmulatedMedia", features=[feature])

  def screenshot(self, path: pathlib.Path) -> None:
    """Writes a PNG of the whole page."""
    shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
    path.write_bytes(base64.b64decode(shot["data"]))

  def check(self) -> None:
    """Asserts that all pictures were loaded, nothing sticks out, and nobody complained."""
    images = "[...document.images]"
    assert self.evaluate(f"{images}.every(i => i.complete && i.naturalWidth > 0)")
    width = self.evaluate("innerWidth")
    assert self.evaluate("document.documentElement.scrollWidth") <= width, self.evaluate(
      _OVERFLOWING
    )
    assert self.complaints == []

  def _call(self, method: str, **params: Any) -> dict[str, Any]:
    self._count += 1
    message = {"id": self._count, "method": method, "params": params}
    if self._session is not None:
      message["sessionId"] = self._session
    os.write(self._to_browser, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._read()
      if answer.get("id") == self._count:
        assert "error" not in answer, (method, answer)
        return answer["result"]

  def _read(self) -> dict[str, Any]:
    while b"\0" not in self._buffer:
      received = os.read(self._from_browser, 2**16)
      assert received, "the browser has ended"
      self._buffer += received
    line, self._buffer = self._buffer.split(b"\0", 1)
    message = json.loads(line)
    if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
      self.complaints.append(json.dumps(message["params"])[:500])
    elif message.get("method") == "Log.entryAdded":
      self.complaints.append(message["params"]["entry"]["text"])
    return message


@contextlib.contextmanager
def browser() -> Iterator[Page]:
  """Yields a page of a new browser; skips the test where no Chromium is installed."""
  program = next(filter(None, map(shutil.which, _NAMES)), None)
  if program is None:
    pytest.skip(f"no browser to open the page with; looked for {', '.join(_NAMES)}")
  child_reads, to_browser = os.pipe()
  from_browser, child_writes = os.pipe()

  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    process = subprocess.Popen(
      [
        *(sys.executable, "-ISc", _START, str(child_reads), str(child_writes)),
        *(program, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"),
      ],
      pass_fds=(child_reads, child_writes),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(child_reads)
    os.close(child_writes)
    try:
      yield Page(to_browser, from_browser)
    finally:
      process.kill()
      process.wait()
      os.close(to_browser)
      os.close(from_browser)
