"""A real ComfyUI server with this pack linked in, as the tests need it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
PYTHON = Path(os.environ.get("COMFYUI_PYTHON") or COMFYUI / ".venv" / "bin" / "python")
PACK = "kintsugi-faces"


def why_not() -> str | None:
    """Why the server cannot be started here, or None if it can."""
    if not (COMFYUI / "main.py").is_file():
        return f"no ComfyUI checkout at {COMFYUI}; set COMFYUI_PATH"
    if not PYTHON.is_file():
        return f"no Python at {PYTHON}; give the checkout a .venv or set COMFYUI_PYTHON"
    return None


#: Inputs of a FaceDetect that looks at the node "load", the face furthest left first.
DETECT = {
    "image": ["load", 0],
    "detector": "auto",
    "confidence": 0.5,
    "min_size": 0,
    "max_size": 0,
    "count": 0,
    "order": "left to right",
    "selection": "",
    "if_no_face": "pass through",
}


class PromptError(RuntimeError):
    """ComfyUI refused a prompt, or a node raised; `details` is what it said."""

    def __init__(self, message: str, details):
        super().__init__(f"{message}: {json.dumps(details)[:2000]}")
        self.details = details


class ComfyServer:
    """Runs from `start` to `stop`; everything it reads and writes lies under `base`.

    Args:
        base: an empty folder.
        options: more arguments of ComfyUI's main.py.
    """

    def __init__(self, base: Path, *options: str | Path):
        self.base, self.options = base, options
        self.log_path = base / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen | None = None

    def start(self, seconds: float = 400) -> None:
        """Start the server and wait until it answers. Raises RuntimeError with its log if not."""
        custom = self.base / "custom_nodes"
        for folder in (custom, self.base / "input", self.base / "output"):
            folder.mkdir(parents=True, exist_ok=True)
        (custom / PACK).symlink_to(ROOT, target_is_directory=True)
        command = [PYTHON, Path(__file__).with_name("launch.py"), COMFYUI]
        command += ["--cpu", "--listen", "127.0.0.1", "--port", self.port]
        command += ["--base-directory", self.base, "--database-url", "sqlite:///:memory:"]
        command += ["--disable-api-nodes", "--disable-auto-launch", "--disable-all-custom-nodes"]
        command += ["--whitelist-custom-nodes", PACK, *self.options]
        offline = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.base,
                env={**os.environ, **offline},
            )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
            else:
                return
        self.stop()
        raise RuntimeError(f"ComfyUI did not come up:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        """End the server: SIGINT first, as a person would, then harder."""
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process is None or self.process.poll() is not None:
                return
            self.process.send_signal(sign)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                continue

    def log(self) -> str:
        """Everything the server has printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str):
        """The JSON answer to GET `path`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict):
        """The JSON answer to POST `path`, None where it has no body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise PromptError(f"{path} answered {error.code}", json.load(error)) from error
        return json.loads(text) if text else None

    def queue(self, prompt: dict) -> str:
        """Queue an API prompt. Returns its id; raises PromptError if it does not validate."""
        return self.post("/prompt", {"prompt": prompt})["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The history entry of a finished prompt, whatever became of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry and entry.get("status", {}).get("messages"):
                return entry
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended:\n{self.log()[-4000:]}")
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} took more than {seconds} s")

    def run(self, prompt: dict) -> dict:
        """The history entry of a prompt that succeeded. Raises PromptError if a node raised."""
        entry = self.wait(self.queue(prompt))
        if entry["status"]["status_str"] != "success":
            raise PromptError("the prompt failed", entry["status"]["messages"])
        return entry

    def images(self, entry: dict, node: str) -> list[Path]:
        """The files node `node` saved or previewed."""
        folders = {"output": self.base / "output", "temp": self.base / "temp"}
        return [
            folders[image["type"]] / image["subfolder"] / image["filename"]
            for image in entry["outputs"][node]["images"]
        ]


def events(entry: dict) -> dict[str, dict]:
    """The messages of a history entry by name: execution_cached, execution_error and so on."""
    return dict(entry["status"]["messages"])
