"""Starts a ComfyUI checkout, also where its torchvision was built for another torch.

    python tests/host/launch.py CHECKOUT [argument of main.py ...]

A torchvision wheel whose compiled part does not fit the installed torch cannot be imported,
because it registers shapes for operators that are then missing. Declaring their schemas is enough
for the import, and ComfyUI itself never calls them.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operators if its compiled part is not there to do so.

    Returns:
        The library; the declarations live as long as it does. None if nothing was needed.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        return library
    except ImportError:
        pass
    return None


if __name__ == "__main__":
    checkout = Path(sys.argv[1]).resolve()
    declared = declare_missing_operators()
    sys.argv = [str(checkout / "main.py"), *sys.argv[2:]]
    sys.path[0] = str(checkout)
    runpy.run_path(sys.argv[0], run_name="__main__")
