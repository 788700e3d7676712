"""Firefox as people have it, driven by the protocol that it speaks itself: WebDriver BiDi.

Playwright brings a Firefox of its own or none; a test of this room wants Debian's.
"""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import websocket
from explorer.browsing import PATIENCE, until

PROGRAM = shutil.which("firefox-esr") or shutil.which("firefox")
QUIET = {  # a profile that asks nobody for anything
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.prefs.recommended": True,
    "toolkit.telemetry.unified": False,
    "ui.systemUsesDarkTheme": 0,
}
KEYS = {"Shift": "\ue008", "Control": "\ue009", "ArrowLeft": "\ue012", "ArrowRight": "\ue014",
        "Home": "\ue011", "End": "\ue010", "Escape": "\ue00c", "Enter": "\ue007"}  # fmt: skip


class Firefox:
    """One window; what its page says in the console and asks for is in `troubles`."""

    def __init__(self, folder, width=1360, height=1000):
        lines = [f"user_pref({json.dumps(n)}, {json.dumps(v)});" for n, v in QUIET.items()]
        (folder / "user.js").write_text("\n".join(lines))
        self.log, self.troubles, self.calls = folder / "firefox.log", [], 0
        command = [PROGRAM, "--headless", "--no-remote", "--profile", folder,
                   "--remote-debugging-port", "0"]  # fmt: skip
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.socket = websocket.create_connection(
            f"{self._address()}/session", timeout=PATIENCE, suppress_origin=True
        )
        self.call("session.new", capabilities={})
        events = ["log.entryAdded", "network.beforeRequestSent"]
        self.call("session.subscribe", events=events)
        self.window = self.call("browsingContext.create", type="tab")["context"]
        size = {"width": width, "height": height}
        self.call("browsingContext.setViewport", context=self.window, viewport=size)

    def _address(self):
        def said():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            return re.search(r"BiDi listening on (ws://\S+)", self.log.read_text())

        return until(said, "Firefox listens")[1]

    def call(self, method, **parameters):
        """The answer to a command; what the browser reports meanwhile is kept."""
        self.calls += 1
        question = {"id": self.calls, "method": method, "params": parameters}
        self.socket.send(json.dumps(question))
        while (answer := json.loads(self.socket.recv())).get("id") != self.calls:
            self._hear(answer)
        assert answer["type"] == "success", answer
        return answer["result"]

    def _hear(self, event):
        about = event["params"]
        if event["method"] == "log.entryAdded":
            self.troubles.append(about["text"])
        elif not about["request"]["url"].startswith(("file:", "data:", "blob:")):
            self.troubles.append(about["request"]["url"])

    def open(self, url):
        """Go to an address, and wait until it is loaded."""
        self.call("browsingContext.navigate", context=self.window, url=url, wait="complete")

    def evaluate(self, expression):
        """What a JavaScript expression gives, awaited, as JSON knows it."""
        text = f"Promise.resolve({expression}).then(value => JSON.stringify(value ?? null))"
        target = {"context": self.window}
        told = self.call("script.evaluate", expression=text, target=target, awaitPromise=True)
        assert told["type"] == "success", told
        return json.loads(told["result"]["value"])

    def pointer(self, *places, press=False, held=()):
        """Move along places [x, y] of the window; with the button down from the first one on."""
        moves = [{"type": "pointerMove", "x": round(x), "y": round(y)} for x, y in places]
        if press:
            down, up = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
            moves = [moves[0], down, *moves[1:], up]
        source = {"type": "pointer", "id": "mouse", "actions": moves}
        self._keys(held, "keyDown")
        self.call("input.performActions", context=self.window, actions=[source])
        self._keys(held, "keyUp")

    def press(self, *keys):
        """Press keys one after the other; "Control+z" holds the first one."""
        for key in keys:
            *held, last = key.split("+") if len(key) > 1 else [key]
            self._keys(held, "keyDown")
            self._keys([last], "keyDown")
            self._keys([last, *reversed(held)], "keyUp")

    def _keys(self, names, kind):
        if not names:
            return
        actions = [{"type": kind, "value": KEYS.get(name, name)} for name in names]
        source = {"type": "key", "id": "keys", "actions": actions}
        self.call("input.performActions", context=self.window, actions=[source])

    def box(self, selector):
        """Left, top, width and height of an element."""
        rectangle = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        found = self.evaluate(rectangle)
        return [found[name] for name in ("x", "y", "width", "height")]

    def text(self, selector):
        """What an element says."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent")

    def picture(self, path):
        """A screenshot of the page."""
        shot = self.call("browsingContext.captureScreenshot", context=self.window)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        """End it."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
