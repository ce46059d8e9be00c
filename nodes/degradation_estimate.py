"""DegradationEstimate node: what is wrong with each face, how much, and where."""

from __future__ import annotations

from ..stages.advice import advise
from ..stages.batch import check_crops
from ..stages.fill import missing
from ..stages.findings_text import shortened
from ._api import ADVANCED, CATEGORY, FacesType, Schema, io, licence_filter, wired
from .host import ComfyHost, show_text, to_intermediate
from .ui import compare, crop_pairs


class DegradationEstimate(io.ComfyNode):
    """Schema and a call down to `stages.advice.advise`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows."""
        return Schema(
            node_id="KintsugiDegradationEstimate",
            display_name="Estimate Face Damage",
            category=CATEGORY,
            description=(
                "Measures what is wrong with each face: blur, noise, compression, missing parts "
                "and more, each in its own unit, and where. Restore Faces with the model auto acts "
                "on it and leaves faces alone that are fine."
            ),
            search_aliases=[
                "face quality",
                "image quality",
                "blur detection",
                "noise level",
                "degradation",
                "kintsugi",
            ],
            inputs=[
                io.Image.Input(
                    "crops", tooltip="Aligned faces from Align Faces, before any restoration."
                ),
                FacesType.Input(
                    "faces", tooltip="The faces from Align Faces that these crops belong to."
                ),
                io.Float.Input(
                    "overlay",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How strongly the heat map covers the face where the damage is greatest. "
                        "It changes the picture alone, not the findings."
                    ),
                    **ADVANCED,
                ),
                licence_filter(),
            ],
            outputs=[
                FacesType.Output(
                    display_name="faces",
                    tooltip="The same faces with what is wrong with each, for Restore Faces.",
                ),
                io.Float.Output(
                    display_name="severity",
                    tooltip=(
                        "How bad the worst face is: 0 fine, 1 nothing of the person is left. 0 "
                        "without a face. Good for a switch that restores only what needs it."
                    ),
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="A line for each face: what is wrong with it and what would be done.",
                ),
                io.Image.Output(
                    display_name="heat map",
                    tooltip=(
                        "Each crop in grey with the damage in colour over it, from dark for a "
                        "little to yellow for much; missing parts are outlined in blue."
                    ),
                ),
                io.Mask.Output(
                    display_name="damage mask",
                    tooltip=(
                        "Scratches and holes found in the faces, on the whole picture: for the "
                        "damage input of Blend Faces Back or any inpainting node."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, crops, faces, overlay, commercial_only=False) -> io.NodeOutput:
        """Look; the stand-in crop of a picture without a face goes through as it is."""
        crops = check_crops(crops)
        given = crops if len(wired(faces)) else crops[:0]
        advice = advise(
            given, faces, opacity=overlay, commercial_only=commercial_only, host=ComfyHost()
        )
        show_text(cls, shortened(advice.report))
        heat_map = advice.heat_map if len(faces) else crops[..., :3]
        summary, *lines = advice.report.splitlines()
        ui = compare(crop_pairs(given, advice.heat_map, advice.faces, lines), summary, len(given))
        return io.NodeOutput(
            advice.faces,
            advice.severity,
            advice.report,
            to_intermediate(heat_map),
            to_intermediate(missing(advice.faces)),
            ui=ui,
        )
