"""Blend node: the restored crops back into their pictures."""

from __future__ import annotations

from ..stages.blend import blend
from ..stages.colour import METHODS
from ._api import ADVANCED, CATEGORY, FacesType, Schema, io
from .host import ComfyHost, to_intermediate


class Blend(io.ComfyNode):
    """Schema and a call down to `stages.blend.blend`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows."""
        return Schema(
            node_id="KintsugiBlend",
            display_name="Blend Faces Back",
            category=CATEGORY,
            description=(
                "Puts restored face crops back where they came from. Every pixel whose mask is 0 "
                "stays exactly as it was, alpha included."
            ),
            search_aliases=["paste face", "face composite", "uncrop", "stitch face", "kintsugi"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures the faces were found in."),
                io.Image.Input(
                    "crops",
                    lazy=True,
                    tooltip=(
                        "The crops, one for each face, restored or changed by any other node. "
                        "They may have another size than they were cut at. Nothing before this "
                        "input runs when there is no face or the opacity is 0."
                    ),
                ),
                FacesType.Input(
                    "faces", tooltip="The faces from Align Faces: they know where each crop goes."
                ),
                io.Float.Input(
                    "opacity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How much of the crop shows. Less keeps more of the original skin and "
                        "grain but also its damage. 0 leaves the pictures as they are and runs no "
                        "restorer."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Width of the soft edge as a share of the face's radius, the same for "
                        "small and large faces. More hides the seam, less restores more of the "
                        "cheeks and the chin."
                    ),
                ),
                io.Combo.Input(
                    "colour",
                    options=list(METHODS),
                    default="match",
                    tooltip=(
                        "match: the face keeps the tones it had, so that it fits the picture "
                        "around it. none: the crop's own tones, for crops that were meant to "
                        "change colour."
                    ),
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="The pictures with their faces replaced; as many as went in.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip=(
                        "How much of each pixel was replaced. Where it is 0 the picture is "
                        "untouched, bit for bit."
                    ),
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What was done, and what to look at: one line each.",
                ),
            ],
        )

    @classmethod
    def check_lazy_status(cls, faces, opacity, crops=None, **others) -> list[str]:
        """Ask for the crops only if they will show."""
        return ["crops"] if crops is None and len(faces) and opacity > 0 else []

    @classmethod
    def execute(cls, image, faces, opacity, feather, colour, crops=None) -> io.NodeOutput:
        """Blend; the pictures keep their dtype so that untouched pixels stay equal."""
        notes: list[str] = []
        result, mask = blend(
            image,
            crops,
            faces,
            feather=feather,
            colour=colour,
            opacity=opacity,
            notes=notes,
            host=ComfyHost(),
        )
        return io.NodeOutput(
            to_intermediate(result, result.dtype), to_intermediate(mask), "\n".join(notes)
        )
