"""Starts a ComfyUI checkout, also where its torchvision was built for another torch.

    python tests/host/launch.py CHECKOUT [argument of main.py ...]

A torchvision wheel whose compiled part does not fit the installed torch cannot be imported,
because it registers shapes for operators that are then missing. Declaring their schemas is enough
for the import, and ComfyUI itself never calls them.
"""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def torchvision_is_broken() -> bool:
    """Whether torchvision is installed and cannot be imported.

    Asked in another process: ComfyUI sets up torch's memory before anything may import it.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True)
    return done.returncode != 0


def declare_operators():
    """Declare torchvision's operators; they stay declared as long as the result is kept."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


if __name__ == "__main__":
    checkout = Path(sys.argv[1]).resolve()
    declared = declare_operators() if torchvision_is_broken() else None
    sys.argv = [str(checkout / "main.py"), *sys.argv[2:]]
    sys.path[0] = str(checkout)
    runpy.run_path(sys.argv[0], run_name="__main__")
