"""One ComfyUI server for all tests of this folder."""

from __future__ import annotations

import pytest
from comfy_server import ComfyServer, why_not


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running server with an input folder of its own and no model files."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    comfy = ComfyServer(tmp_path_factory.mktemp("comfyui"))
    comfy.start()
    yield comfy
    comfy.stop()
