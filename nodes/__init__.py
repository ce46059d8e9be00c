"""The nodes as ComfyUI sees them: schema and a call down to the stage of the same name."""

from __future__ import annotations

from ._api import ComfyExtension, io
from .blend import Blend
from .degradation_estimate import DegradationEstimate
from .face_detect import FaceDetect
from .folders import register_folders
from .identity_guard import IdentityGuard
from .landmark_align import LandmarkAlign
from .restore import Restore
from .routes import register_routes


class KintsugiExtension(ComfyExtension):
    """What `comfy_entrypoint` hands to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in the order of the pipeline."""
        register_folders()
        register_routes()
        return [FaceDetect, LandmarkAlign, DegradationEstimate, Restore, IdentityGuard, Blend]
