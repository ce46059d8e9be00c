"""FaceDetect node: where the faces are, and which of them to work on."""

from __future__ import annotations

import math

from ..stages.batch import check
from ..stages.chosen import choose
from ..stages.face_detect import ORDERS, detect
from ..stages.faces import Faces
from ._api import ADVANCED, CATEGORY, BoundingBox, FacesType, Schema, bounding_box_input, io
from .choices import detectors
from .host import ComfyHost, painted, show_text
from .ui import show_faces

PASS_THROUGH = "pass through"
STOP = "stop with an error"

#: Upper end of the pixel widgets, the largest picture side the stages accept.
LARGEST = 32768


class FaceDetect(io.ComfyNode):
    """Schema and a call down to `stages.face_detect.detect`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node shows."""
        return Schema(
            node_id="KintsugiFaceDetect",
            display_name="Detect Faces",
            category=CATEGORY,
            description=(
                "Finds faces of any size and any rotation and picks the ones to work on. A "
                "picture without a face is a normal result: it stays in the batch."
            ),
            search_aliases=["face detection", "find faces", "face bbox", "RetinaFace", "kintsugi"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="One picture or a batch; every picture is searched."
                ),
                io.Combo.Input(
                    "detector",
                    options=detectors(),
                    default="auto",
                    tooltip=(
                        "Who looks for faces. auto is the detector that comes with this pack and "
                        "needs no download; a name fetches that detector once if its file is not "
                        "in models/facedetection."
                    ),
                ),
                io.Float.Input(
                    "confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "How sure the detector must be. Lower it when a face is missed, raise it "
                        "when something that is no face is taken for one."
                    ),
                ),
                io.Int.Input(
                    "min_size",
                    default=0,
                    min=0,
                    max=LARGEST,
                    tooltip=(
                        "Leave out faces smaller than this many pixels, for example people in the "
                        "background who should stay soft. 0: from 12 pixels, or from a "
                        "hundredth of the picture's longer side if that is more. Larger is faster."
                    ),
                ),
                io.Int.Input(
                    "max_size",
                    default=0,
                    min=0,
                    max=LARGEST,
                    tooltip=(
                        "Leave out faces larger than this many pixels, which may be sharp enough "
                        "already. 0: no limit."
                    ),
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Keep at most this many faces in each picture, first in order. 0: all.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=next(iter(ORDERS)),
                    tooltip="Which face comes first: it decides what count and selection mean.",
                ),
                io.String.Input(
                    "selection",
                    default="",
                    tooltip=(
                        "Numbers of the faces to keep in each picture, counted from 0 in the "
                        "order above, such as 0 or 0, 2-4. Empty: all of them. If no face has such "
                        "a number, none is kept."
                    ),
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "if_no_face",
                    options=[PASS_THROUGH, STOP],
                    default=PASS_THROUGH,
                    tooltip=(
                        "What to do if the whole batch has no face: let the pictures through "
                        "unchanged, or stop the run so that it does not go unnoticed."
                    ),
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "A face counts only if its centre lies where this mask is white. One mask "
                        "serves the whole batch."
                    ),
                ),
                bounding_box_input(
                    "boxes",
                    optional=True,
                    tooltip=(
                        "Boxes from another detector. With them wired, one face is looked for "
                        "inside each box and nowhere else, however unsure."
                    ),
                ),
                io.String.Input(
                    "chosen",
                    optional=True,
                    default="",
                    socketless=True,
                    tooltip=(
                        "The faces picked in the picture on the node: click one to leave it out "
                        "or to take it back, drag over one that was missed. Empty: all that the "
                        "other settings leave."
                    ),
                ),
            ],
            outputs=[
                FacesType.Output(
                    display_name="faces",
                    tooltip="The chosen faces, for Align Faces. May be empty.",
                ),
                BoundingBox.Output(
                    display_name="boxes",
                    tooltip="The same faces as plain boxes in pixels, for other nodes.",
                ),
                io.Int.Output(
                    display_name="count", tooltip="How many faces were chosen in the whole batch."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        image,
        detector,
        confidence,
        min_size,
        max_size,
        count,
        order,
        selection,
        if_no_face,
        mask=None,
        boxes=None,
        chosen="",
    ) -> io.NodeOutput:
        """Detect, then keep what was picked by hand; a widget says what no face at all means."""
        host, image = ComfyHost(), check(image)
        found = detect(
            image,
            detector=detector,
            confidence=confidence,
            min_size=min_size,
            max_size=max_size,
            count=count,
            order=order,
            selection=selection,
            mask=painted(mask),
            boxes=boxes,
            host=host,
        )
        picked = choose(image, found, chosen, detector=detector, host=host)
        faces = picked.faces
        if not len(faces) and if_no_face == STOP:
            raise ValueError(
                none_chosen_message(len(found))
                if len(found)
                else no_face_message(faces.frames, confidence)
            )
        show_text(cls, count_message(len(faces), len(picked.candidates), faces.frames))
        ui = show_faces(image, picked)
        return io.NodeOutput(faces, as_bounding_boxes(faces), len(faces), ui=ui)


def count_message(chosen: int, candidates: int, frames: int) -> str:
    """How many faces there are, in one line."""
    faces = f"{candidates} face{'s' * (candidates > 1)}" if candidates else "no face"
    picked = f"{chosen} of {faces}" if chosen < candidates else faces
    return f"{picked} in {frames} picture{'s' * (frames > 1)}"


def none_chosen_message(found: int) -> str:
    """What happened when every face that was found was left out by hand."""
    return (
        f"none of the {found} face{'s' * (found > 1)} found is chosen; pick one in the picture on "
        f"the node, clear 'chosen' to take all, or set if_no_face to '{PASS_THROUGH}'"
    )


def no_face_message(frames: int, confidence: float) -> str:
    """What happened, the value seen, and what to try."""
    return (
        f"no face was found in {frames} picture{'s' * (frames > 1)} at confidence {confidence:g}; "
        "lower the confidence or the minimum size, widen the mask, or set if_no_face to "
        f"'{PASS_THROUGH}'"
    )


def as_bounding_boxes(faces: Faces) -> list[list[dict]]:
    """Core's BOUNDING_BOX: for each picture a list of boxes inside it.

    Convention: x, y, width, height in whole pixels, x and y of the first pixel inside.
    """
    pictures: list[list[dict]] = [[] for _ in range(faces.frames)]
    for face in faces:
        # Edges count from the corner of the picture here, from the centre of its first pixel there.
        x0, y0, x1, y1 = (float(value) + 0.5 for value in face.box)
        left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
        right, bottom = min(faces.width, math.ceil(x1)), min(faces.height, math.ceil(y1))
        pictures[face.frame].append(
            {
                "x": left,
                "y": top,
                "width": max(1, right - left),
                "height": max(1, bottom - top),
                "label": "face",
                "score": float(face.score),
            }
        )
    return pictures
