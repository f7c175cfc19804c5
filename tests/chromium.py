"""A headless Chromium, driven by the DevTools protocol over two pipes; needs no library."""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_LIMIT_S = 120.0
# The browser reads from its descriptor 3 and writes to 4, which may be taken by either pipe.
_START = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for place, pipe in enumerate(pipes, start=3):
  os.dup2(pipe, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
# Whatever sticks out of the page to the right.
_OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(e => !e.closest(".wide, svg, .figure") && e.getBoundingClientRect().right > innerWidth)
  .map(e => e.tagName + "." + e.className)
"""


def find() -> str | None:
  """Returns the program, or None where there is none."""
  return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
  """One page of a browser, which may show one file after another.

  Attributes:
    messages: what the page has written to its console, and errors of its scripts, since its file
      was opened.
  """

  def __init__(self, program: str, folder: pathlib.Path):
    """Starts the browser; `folder` takes its profile."""
    self._read_end, to_us = os.pipe()
    from_us, self._write_end = os.pipe()
    # Root, as in containers, has no sandbox.
    command = [
      sys.executable,
      "-c",
      _START,
      str(from_us),
      str(to_us),
      program,
      "--headless=new",
      "--remote-debugging-pipe",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--hide-scrollbars",
      "--no-first-run",
      f"--user-data-dir={folder}",
      "about:blank",
    ]
    self._process = subprocess.Popen(
      command,
      pass_fds=(from_us, to_us),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    self._received, self._numbers = b"", itertools.count(1)
    self._session: str | None = None
    self.messages: list[str] = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
    self._session = attached["sessionId"]
    for domain in ("Runtime", "Log", "Page", "Network"):
      self.call(f"{domain}.enable")

  def close(self) -> None:
    """Ends the browser."""
    with contextlib.suppress(OSError, TimeoutError, EOFError):
      self._session = None
      self.call("Browser.close")
    try:
      self._process.wait(10.0)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._read_end)
    os.close(self._write_end)

  def call(self, method: str, **params: Any) -> dict[str, Any]:
    """Returns the result of a command of the protocol."""
    number = next(self._numbers)
    content = {"id": number, "method": method, "params": params}
    if self._session:
      content["sessionId"] = self._session
    os.write(self._write_end, json.dumps(content).encode() + b"\0")
    while True:
      message = self._next()
      if message.get("id") == number:
        if "error" in message:
          raise AssertionError(f"{method}: {message['error']}")
        return message["result"]

  def evaluate(self, expression: str) -> Any:
    """Returns the value of a JavaScript expression, or what its promise comes to."""
    result = self.call(
      "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
    )
    if "exceptionDetails" in result:
      raise AssertionError(f"{expression}: {result['exceptionDetails']}")
    return result["result"].get("value")

  def open(self, path: pathlib.Path, width: int, height: int = 900, scheme: str = "light") -> None:
    """Opens a file in a window of a size in pixels, of a reader who chose light or dark."""
    self.call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    self.call(
      "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    self.messages.clear()
    self.call("Page.navigate", url=path.resolve().as_uri())
    limit = time.monotonic() + _LIMIT_S
    while self.evaluate("document.readyState") != "complete" or self.evaluate(
      "location.href"
    ).startswith("about:"):
      if time.monotonic() > limit:
        raise TimeoutError(f"{path} does not load")
      time.sleep(0.05)

  def press(self, key: str, text: str = "", code: int = 0) -> None:
    """Presses and releases a key, such as `Tab`, with the text that it types and its number."""
    for kind in ("keyDown", "keyUp"):
      self.call(
        "Input.dispatchKeyEvent",
        type=kind,
        key=key,
        code=key,
        windowsVirtualKeyCode=code,
        text=text if kind == "keyDown" else "",
      )

  def check(self) -> None:
    """Asserts that all pictures were loaded, nothing sticks out, and nobody complained."""
    assert self.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    is_wide = "document.documentElement.scrollWidth > innerWidth"
    assert not self.evaluate(is_wide), self.evaluate(_OVERFLOWING)
    assert self.messages == []

  def screenshot(self, path: pathlib.Path, whole: bool = False) -> None:
    """Writes a PNG of what is seen, or of the whole page."""
    result = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(result["data"]))

  def _next(self) -> dict[str, Any]:
    """Returns the next message; notes errors among the events."""
    while b"\0" not in self._received:
      ready, _, _ = select.select([self._read_end], [], [], _LIMIT_S)
      if not ready:
        raise TimeoutError("Chromium does not answer")
      part = os.read(self._read_end, 1 << 20)
      if not part:
        raise EOFError("Chromium has ended")
      self._received += part
    line, self._received = self._received.split(b"\0", 1)
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if method == "Runtime.consoleAPICalled":
      self.messages.append(f"{params['type']}: {params['args']}")
    elif method == "Runtime.exceptionThrown":
      self.messages.append(f"exception: {params['exceptionDetails']}")
    elif method == "Log.entryAdded":
      self.messages.append(f"log: {params['entry']['text']}")
    elif method == "Network.requestWillBeSent":
      url = params["request"]["url"]
      if not url.startswith(("data:", "file:", "about:")):
        self.messages.append(f"fetches {url}")
    return message


@contextlib.contextmanager
def running(program: str, folder: pathlib.Path) -> Iterator[Page]:
  """Yields a page of a browser that ends with the block."""
  page = Page(program, folder)
  try:
    yield page
  finally:
    page.close()
