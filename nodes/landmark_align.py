"""LandmarkAlign node: every face cut out, upright and at one size."""

from __future__ import annotations

import torch

from ..stages.geometry import TEMPLATES
from ..stages.landmark_align import SIZES, SMOOTHEST, align, footprint
from ._api import ADVANCED, CATEGORY, FacesType, Schema, io, licence_filter, wired
from .choices import landmark_models
from .host import ComfyHost, to_intermediate

OF_THE_DETECTOR = "the detector's points"


class LandmarkAlign(io.ComfyNode):
    """Schema and a call down to `stages.landmark_align`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows."""
        return Schema(
            node_id="KintsugiLandmarkAlign",
            display_name="Align Faces",
            category=CATEGORY,
            description=(
                "Cuts every face out of its picture, turned upright and scaled to one size, as "
                "face restorers expect it. The crops are an ordinary image batch: any node may "
                "stand between this one and Blend Faces Back. Without a face there is one black "
                "crop, which Restore Faces and Blend Faces Back ignore."
            ),
            search_aliases=["crop face", "face crop", "face warp", "landmarks", "kintsugi"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures the faces were found in."),
                FacesType.Input("faces", tooltip="The faces from Detect Faces."),
                io.Int.Input(
                    "size",
                    default=512,
                    min=SIZES[0],
                    max=SIZES[1],
                    step=64,
                    tooltip=(
                        "Side of the square crops in pixels. 512 is what most restorers work at. "
                        "Larger keeps more of a big face's own detail, smaller is faster."
                    ),
                ),
                io.Combo.Input(
                    "landmarks",
                    options=[OF_THE_DETECTOR, *landmark_models()],
                    default=OF_THE_DETECTOR,
                    tooltip=(
                        "Whose points to align by. The detector's five are right for most faces "
                        "and cost nothing. A landmark model finds 68 or 98 points, worth a try "
                        "when eyes or mouth come out misplaced; its file is downloaded once."
                    ),
                    **ADVANCED,
                ),
                io.Float.Input(
                    "margin",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How much more of the surroundings to show, as a share of the crop's "
                        "side. 0 is what restorers are trained on; more helps nodes that need to "
                        "see hair and shoulders."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "template",
                    options=list(TEMPLATES),
                    default="ffhq",
                    tooltip=(
                        "Where eyes, nose and mouth lie in the crop. ffhq is right for every "
                        "restorer here; the others are for recognition models."
                    ),
                    **ADVANCED,
                ),
                io.Float.Input(
                    "smoothing",
                    default=0.0,
                    min=0.0,
                    max=float(SMOOTHEST),
                    step=0.5,
                    optional=True,
                    tooltip=(
                        "For the frames of a video: over about how many frames the points of a "
                        "face are averaged, so that its crop does not tremble. 2 suits most. 0 "
                        "takes each picture by itself, as unrelated pictures need it."
                    ),
                    **ADVANCED,
                ),
                licence_filter(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="crops",
                    tooltip="One square crop for each face, in the order of the faces.",
                ),
                FacesType.Output(
                    display_name="faces",
                    tooltip="The same faces, each with the way back from its crop to the picture.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Where the crops lie in the pictures: 1 inside, 0 outside.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, image, faces, size, landmarks, margin, template, smoothing=0.0, commercial_only=False
    ) -> io.NodeOutput:
        """Align; an empty batch would crash preview and save nodes, so a black crop stands in."""
        crops, aligned = align(
            image,
            wired(faces),
            size=size,
            template=template,
            margin=margin,
            landmarks=None if landmarks == OF_THE_DETECTOR else landmarks,
            smoothing=smoothing,
            commercial_only=commercial_only,
            host=ComfyHost(),
        )
        if not len(aligned):
            crops = torch.zeros(1, size, size, 3)
        return io.NodeOutput(to_intermediate(crops), aligned, to_intermediate(footprint(aligned)))
