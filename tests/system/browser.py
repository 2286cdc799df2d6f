"""browser.py: a headless Chromium driven over its debugging pipe (DevTools protocol, NUL-ended
JSON on two descriptors; nothing but the standard library). Knows nothing of caid."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# What a key is to the protocol: name → (key, code, Windows key code, text).
NAMED = {"Enter": ("Enter", "Enter", 13, "\r"), "Tab": ("Tab", "Tab", 9, ""), "Escape": ("Escape", "Escape", 27, ""),
         "ArrowRight": ("ArrowRight", "ArrowRight", 39, ""), " ": (" ", "Space", 32, " "), "?": ("?", "Slash", 191, "?")}
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}


class Browser:
    """One page of one browser, with a profile of its own. `limit`: seconds to wait for anything."""

    def __init__(self, width=1280, height=900, limit=60):
        self.limit, self.number, self.buffer, self.events = limit, 0, b"", []
        self.profile = tempfile.mkdtemp(prefix="caid-browser-")
        there, self.write_fd = os.pipe()
        self.read_fd, back = os.pipe()

        def descriptors():  # the protocol's are 3 and 4
            a, b = os.dup(there), os.dup(back)
            os.dup2(a, 3)
            os.dup2(b, 4)
        self.process = subprocess.Popen(
            [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--disable-features=Translate,OptimizationHints,MediaRouter", "--remote-debugging-pipe",
             f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank"],
            preexec_fn=descriptors, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        os.close(there)
        os.close(back)
        self.session = None
        target = self.until(lambda: next((t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"), None))
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(domain + ".enable")
        self.size(width, height)

    # ---- the protocol

    def read(self, limit):
        while b"\0" not in self.buffer:
            if not select.select([self.read_fd], [], [], limit)[0]:
                return None
            chunk = os.read(self.read_fd, 1 << 16)
            if not chunk:
                raise AssertionError("the browser is gone")
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def take(self, message):
        """Events are kept; a dialog would hold up everything, so it is closed at once."""
        self.events.append(message)
        if message.get("method") == "Page.javascriptDialogOpening":
            self.number += 1
            self.post("Page.handleJavaScriptDialog", {"accept": True})

    def post(self, method, params):
        o = {"id": self.number, "method": method, "params": params}
        if self.session:
            o["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(o).encode() + b"\0")

    def send(self, method, **params):
        self.number += 1
        number = self.number
        self.post(method, params)
        end = time.monotonic() + self.limit
        while time.monotonic() < end:
            o = self.read(end - time.monotonic())
            if o is None:
                break
            if o.get("id") != number:
                if "method" in o:
                    self.take(o)
                continue
            if "error" in o:
                raise AssertionError(f"{method}: {o['error']}")
            return o.get("result", {})
        raise AssertionError(f"{method}: no answer within {self.limit} s")

    def drain(self, seconds=0.0):
        end = time.monotonic() + seconds
        while True:
            o = self.read(max(0, end - time.monotonic()))
            if o is None:
                return
            if "method" in o:
                self.take(o)

    def of(self, method):
        self.drain()
        return [e["params"] for e in self.events if e.get("method") == method]

    # ---- what a person does

    def go(self, url):
        self.send("Page.navigate", url=url)

    def reload(self):
        self.send("Page.reload")

    def js(self, expression):
        o = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in o:
            raise AssertionError(f"{expression[:200]}: {o['exceptionDetails'].get('exception', {}).get('description')}")
        return o["result"].get("value")

    def until(self, condition, limit=None, what=""):
        """A function, or an expression of the page that comes true."""
        end = time.monotonic() + (limit or self.limit)
        why = None
        while time.monotonic() < end:
            try:
                value = self.js(f"!!({condition})") if isinstance(condition, str) else condition()
                if value:
                    return value
            except AssertionError as e:  # between two pages there is nothing to ask
                why = e
                if self.process.poll() is not None:
                    raise
            time.sleep(0.05)
        raise AssertionError(f"not within {limit or self.limit} s: {what or condition} ({why})")

    def key(self, name, *held):
        key, code, number, text = NAMED.get(name) or (
            name, "Digit" + name if name.isdigit() else "Key" + name.upper(), ord(name.upper()), name)
        bits = sum(MODIFIERS[h] for h in held)
        if "Control" in held:
            text = ""
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": bits}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common,
                  **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.send("Input.insertText", text=text)

    # ---- how it looks

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def scripts(self, on):
        self.send("Emulation.setScriptExecutionDisabled", value=not on)

    def picture(self, path, whole=True):
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def close(self):
        try:
            self.session = None
            self.number += 1
            self.post("Browser.close", {})
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for fd in (self.write_fd, self.read_fd):
            os.close(fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
