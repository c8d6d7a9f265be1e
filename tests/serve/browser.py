"""Chromium, driven through the pipe of its DevTools protocol: no driver program and no library.

https://chromedevtools.github.io/devtools-protocol: messages of JSON, each ended by a zero byte,
go in at file descriptor 3 and come out at 4.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WHY_NOT = "" if CHROMIUM and sys.platform != "win32" else "there is no Chromium here"
PATIENCE = 60.0  # seconds until something that should happen has not; never how fast it is

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_KEYS = {
    "Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9), "ArrowUp": ("", 38),
    "ArrowDown": ("", 40),
}  # fmt: skip

_DROP = """([given, name, type]) => {
  const bytes = Uint8Array.from(atob(given), (each) => each.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, {type}));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true});
    document.body.dispatchEvent(event);
  }
}"""


class Browser:
    """A browser with a profile of its own, which is gone with it."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", *command],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        os.set_blocking(self._read, False)
        self._rest = b""
        self._number = 0
        self._answers: dict[int, Any] = {}
        self.pages: dict[str, Page] = {}

    def call(self, method: str, params: Mapping[str, Any], session: str | None = None) -> Any:
        """Send a command and wait for what it gives."""
        self._number += 1
        own = self._number
        message = {"id": own, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while own not in self._answers:
            assert time.monotonic() < deadline, f"the browser did not answer {method}"
            self.listen()
        answer = self._answers.pop(own)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def listen(self) -> None:
        """Take in what happened meanwhile."""
        for message in self._messages():
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._hear(message)

    def _messages(self) -> Iterator[dict[str, Any]]:
        if b"\0" not in self._rest:
            try:
                data = os.read(self._read, 1 << 20)
                assert data, "the browser ended"
                self._rest += data
            except BlockingIOError:
                time.sleep(0.005)
        while b"\0" in self._rest:
            first, _, self._rest = self._rest.partition(b"\0")
            yield json.loads(first)

    def _hear(self, event: Mapping[str, Any]) -> None:
        page = self.pages.get(event.get("sessionId", ""))
        if page is not None:
            page.hear(event["method"], event["params"])

    def open(self, url: str, **look: Any) -> "Page":
        """A tab with cookies and storage of its own, at this address."""
        context = self.call("Target.createBrowserContext", {})["browserContextId"]
        asked = {"url": "about:blank", "browserContextId": context}
        target = self.call("Target.createTarget", asked)["targetId"]
        attach = {"targetId": target, "flatten": True}
        session = self.call("Target.attachToTarget", attach)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            page.call(f"{domain}.enable")
        page.look(**look)
        page.go(url)
        return page

    def close(self) -> None:
        """End it, and remove its profile."""
        with contextlib.suppress(OSError):
            os.close(self._write)  # it ends with its pipe
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        self._profile.cleanup()


class Page:
    """A tab. ``troubles`` are its uncaught errors, what its policy refused, and what failed to
    load; ``requested`` every address it asked for."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.troubles: list[str] = []
        self.requested: list[str] = []
        self.dialogs: list[str] = []
        self._change: Callable[[str, Any], dict[str, Any] | None] = lambda _url, _body: None

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, params, self._session)

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.troubles.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.troubles.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Fetch.requestPaused":
            self._pass_on(params)
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            message = {"accept": True}
            self._browser.call("Page.handleJavaScriptDialog", message, self._session)

    def intercept(self, pattern: str, change: Callable[[str, Any], dict[str, Any] | None]) -> None:
        """Requests to such addresses pass ``change(url, body)``, which gives the body of JSON that
        is sent instead, ``{"status": …, "headers": …, "body": …}`` that answers it, or None."""
        self._change = change
        self.call("Fetch.enable", patterns=[{"urlPattern": pattern}])

    def _pass_on(self, params: Mapping[str, Any]) -> None:
        request, held = params["request"], {"requestId": params["requestId"]}
        body = json.loads(request.get("postData") or "null")
        changed = self._change(request["url"], body)
        if changed is None:
            self.call("Fetch.continueRequest", **held)
        elif "status" in changed:
            named = changed.get("headers", {}).items()
            self.call(
                "Fetch.fulfillRequest", **held, responseCode=changed["status"],
                responseHeaders=[{"name": name, "value": value} for name, value in named],
                body=base64.b64encode(changed["body"].encode()).decode(),
            )  # fmt: skip
        else:
            sent = base64.b64encode(json.dumps(changed).encode()).decode()
            self.call("Fetch.continueRequest", **held, postData=sent)

    def look(
        self, *, width: int = 1280, height: int = 860, dark: bool = False, still: bool = False
    ) -> None:
        """The size of the window, and what a person prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression in the page gives, promises awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true; an element is."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            shown = self.value("document.body?.innerText.slice(0, 1500)")
            assert time.monotonic() < deadline, f"never: {expression}\n{self.troubles}\n{shown}"
            time.sleep(0.03)

    def text(self, selector: str) -> str:
        """All words in what is selected, as they are shown."""
        every = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return str(self.value(f"{every}.map((each) => each.innerText).join('\\n')"))

    def click(self, selector: str) -> None:
        """A real click in the middle of it, wherever it has to be scrolled to."""
        found = json.dumps(selector)
        self.until(f"document.querySelector({found})?.checkVisibility()")
        how = "{block: 'center', behavior: 'instant'}"
        self.value(f"document.querySelector({found}).scrollIntoView({how})")
        box = self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({found}).getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            held = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], **held)

    def hover(self, selector: str) -> None:
        box = self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def write(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        text, code = _KEYS.get(key, (key, ord(key[0].upper())))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """As the dialog of a file input does."""
        node = self.call("DOM.getDocument")["root"]["nodeId"]
        found = self.call("DOM.querySelector", nodeId=node, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=found, files=[str(each) for each in paths])

    def drop(self, path: Path, kind: str) -> None:
        """A file dragged in from another program, and dropped in the middle of the window."""
        given = base64.b64encode(path.read_bytes()).decode()
        self.value(f"({_DROP})({json.dumps([given, path.name, kind])})")

    def save_into(self, folder: Path) -> None:
        """Where files go that the page lets a person save."""
        asked = {"behavior": "allow", "downloadPath": str(folder)}
        context = self._browser.call("Target.getTargetInfo", {"targetId": self._target})
        asked["browserContextId"] = context["targetInfo"]["browserContextId"]
        self._browser.call("Browser.setDownloadBehavior", asked)

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self._browser.call("Target.closeTarget", {"targetId": self._target})
