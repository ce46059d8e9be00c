"""`nodes/host.py` and `nodes/folders.py` against ComfyUI's own memory manager and folders."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from comfy_server import COMFYUI, PYTHON, why_not
from inside import CHECKS


@pytest.fixture(scope="module")
def results():
    """Name of each check in `inside.py` to its traceback, empty where it passed."""
    if reason := why_not():
        pytest.skip(reason)
    script = Path(__file__).with_name("inside.py")
    done = subprocess.run(
        [PYTHON, script, COMFYUI], capture_output=True, text=True, timeout=300, cwd=COMFYUI
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_inside_comfyui(results, check):
    assert not results[check], results[check]
