"""The real page in headless Chromium, as the browser tests drive it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
import uuid
from pathlib import Path

from comfy_server import PACK, ROOT

#: Debian's and others' names of the browser; KINTSUGI_CHROMIUM names another one.
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

#: A newer page than the checkout's own: the folder with its index.html. `.ci/run` puts it there.
NEWER_PAGE = Path(
    os.environ.get("KINTSUGI_FRONTEND")
    or ROOT / ".venv" / "frontend" / "comfyui_frontend_package" / "static"
)

#: Where screenshots go; they are looked at by people and kept out of git.
SHOTS = Path(os.environ.get("KINTSUGI_SCREENSHOTS") or ROOT / "runs" / "screenshots")

_READY = "window.app && window.app.graph && window.app.extensionManager?.setting"


def browser() -> str | None:
    """The browser's executable."""
    named = os.environ.get("KINTSUGI_CHROMIUM")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


def why_no_page() -> str | None:
    """Why the page cannot be driven here, or None if it can."""
    if importlib.util.find_spec("playwright") is None:
        return "no playwright; pip install playwright"
    if browser() is None:
        return f"no browser: none of {', '.join(BROWSERS)} in PATH; set KINTSUGI_CHROMIUM"
    return None


class Page:
    """One tab. `complaints` gathers what our files, or errors that pass through them, print."""

    def __init__(self, tab, server, vue: bool, name: str):
        self.tab, self.server, self.vue, self.name = tab, server, vue, name
        self.complaints: list[str] = []
        tab.set_default_timeout(120_000)
        tab.route("**/*", self._only_ours)
        tab.on("console", self._console)
        tab.on("pageerror", lambda error: self._complain(f"{error} {error.stack}"))

    def _only_ours(self, route):
        address = route.request.url
        ours = address.startswith((self.address, "data:", "blob:"))
        route.continue_() if ours else route.abort()

    def _console(self, message):
        where = message.location.get("url", "")
        if message.type in ("error", "warning"):
            self._complain(f"{message.type}: {message.text} ({where})")

    def _complain(self, text: str):
        # The page's own note on a choice of widgets that an earlier workflow of the tab had made.
        of_the_page = text.startswith("warning: [appModeStore] dropping legacy")
        if not of_the_page and (PACK in text or "kintsugi" in text.lower()):
            self.complaints.append(text)

    @property
    def address(self) -> str:
        """The server's."""
        return f"http://127.0.0.1:{self.server.port}"

    def open(self) -> None:
        """Load the page and choose the renderer."""
        self.tab.goto(self.address)
        self.tab.wait_for_function(_READY)
        self.tab.evaluate(
            """async (vue) => {
              const settings = app.extensionManager.setting;
              await settings.set("Comfy.TutorialCompleted", true);
              await settings.set("Comfy.VueNodes.Enabled", vue);
            }""",
            self.vue,
        )
        self.tab.wait_for_timeout(1000)
        self.tab.keyboard.press("Escape")

    def reload(self) -> None:
        """Load the page again, which brings the last workflow back."""
        self.tab.wait_for_timeout(1500)  # the page writes its draft with a delay
        self.tab.reload()
        self.tab.wait_for_function(_READY)
        self.tab.wait_for_function("app.graph.nodes.length > 2")

    def load(self, workflow: dict) -> None:
        """Show a workflow."""
        self.tab.evaluate("async (workflow) => { await app.loadGraphData(workflow); }", workflow)
        self.tab.wait_for_function("app.graph.nodes.length > 2")
        self.tab.wait_for_selector(".kintsugi", state="attached")

    def run(self, seconds: float = 300) -> str:
        """Queue the workflow as the Run button does, and wait until the page knows it is done.

        Returns "" or the message of the error that ended it.
        """
        error = self.tab.evaluate(
            """async (most) => {
              const names = ["execution_success", "execution_error", "execution_interrupted"];
              const done = new Promise((resolve, reject) => {
                for (const name of names) app.api.addEventListener(name, resolve, { once: true });
                setTimeout(() => reject(new Error("the run did not end")), most);
              });
              await app.queuePrompt(0);
              const { type, detail } = await done;
              return type === "execution_success" ? "" : detail.exception_message || type;
            }""",
            1000 * seconds,
        )
        self.tab.wait_for_timeout(300)
        return error

    def until(self, read, wanted=True, seconds: float = 30) -> bool:
        """True once `read()` is `wanted`: pictures load and the page draws after it was told.

        Raises AssertionError with what was read last if it does not become so.
        """
        end = time.monotonic() + seconds
        while (seen := read()) != wanted and time.monotonic() < end:
            self.tab.wait_for_timeout(50)
        assert seen == wanted
        return True

    def look_at(self, kind: str, scale: float = 1.0) -> None:
        """Move the canvas so that the node of a class stands at the top left."""
        self.tab.evaluate(
            """([kind, scale]) => {
              const node = app.graph.nodes.find((node) => node.comfyClass === kind);
              app.canvas.ds.scale = scale;
              app.canvas.ds.offset[0] = 120 / scale - node.pos[0];
              app.canvas.ds.offset[1] = 130 / scale - node.pos[1];
              app.canvas.setDirty(true, true);
            }""",
            [kind, scale],
        )
        self.tab.wait_for_timeout(700)

    def value(self, kind: str, widget: str):
        """What a widget holds."""
        return self.tab.evaluate(
            """([kind, name]) => app.graph.nodes.find((node) => node.comfyClass === kind)
                 .widgets.find((widget) => widget.name === name).value""",
            [kind, widget],
        )

    def prompt(self) -> dict:
        """What would be sent to the server, by node."""
        return self.tab.evaluate("async () => (await app.graphToPrompt()).output")

    def workflow(self) -> dict:
        """What would be saved."""
        return self.tab.evaluate("() => app.graph.serialize()")

    def shot(self, name: str) -> Path:
        """Write a screenshot of the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{self.name}_{name}.png"
        self.tab.screenshot(path=str(path))
        return path

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element's middle is on the page."""
        box = self.tab.locator(selector).first.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def picture(self) -> dict:
        """Where FaceDetect's picture lies on the page: left, top, width, height."""
        return self.tab.evaluate(
            """() => {
              const marks = document.querySelector(".kintsugi-marks");
              const place = marks.getBoundingClientRect();
              const { width, height } = marks.viewBox.baseVal;
              const scale = Math.min(place.width / width, place.height / height);
              return {
                left: place.left + (place.width - width * scale) / 2,
                top: place.top + (place.height - height * scale) / 2,
                width: width * scale,
                height: height * scale,
              };
            }"""
        )


def example(name: str, image: str) -> dict:
    """An example workflow with another picture to load, as a workflow that was never run."""
    path = ROOT / "example_workflows" / f"{name}.json"
    workflow = json.loads(path.read_text(encoding="utf-8")) | {"id": str(uuid.uuid4())}
    for node in workflow["nodes"]:
        if node["type"] == "LoadImage":
            node["widgets_values"][0] = image
    return workflow
