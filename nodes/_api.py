"""The one door to ComfyUI's node interface: every node imports `io`, `Schema` and types from here.

The pack keeps one source for old and new cores: what a core does not know yet is left out instead
of making it refuse the whole pack.
"""

from __future__ import annotations

import dataclasses
import inspect

from comfy_api.v0_0_2 import ComfyExtension, io, ui

from ..stages.faces import Faces

#: Where the nodes stand in the "Add Node" menu.
CATEGORY = "image/face restoration"

#: The wire type of `stages.faces.Faces`.
FacesType = io.Custom("KINTSUGI_FACES")

#: What Restore hands on where nobody wired faces: nothing is known of any picture.
NO_FACES = Faces((), 0, 0, 0)


def wired(faces: Faces) -> Faces:
    """The faces as they came.

    Raises:
        ValueError: they are NO_FACES, which would pass for pictures without a face.
    """
    if not faces.width:
        raise ValueError(
            "these faces come from a Restore Faces that was given none; wire the faces of Align "
            "Faces into it, or straight to this node"
        )
    return faces


#: Core's own box type where it has one; the same name on the wire elsewhere.
BoundingBox = getattr(io, "BoundingBox", None) or io.Custom("BOUNDING_BOX")


def _accepts(function, keyword: str) -> bool:
    return keyword in inspect.signature(function).parameters


#: Put into the inputs that most people never touch; empty on cores without folding.
ADVANCED = {"advanced": True} if _accepts(io.Float.Input.__init__, "advanced") else {}


def licence_filter(tooltip: str = "", optional: bool = True) -> io.Boolean.Input:
    """The licence filter, as every node with models has it; inputs that came later are optional."""
    return io.Boolean.Input(
        "commercial_only",
        default=False,
        optional=optional,
        label_on="commercial use only",
        label_off="any licence",
        tooltip=tooltip
        or "Refuses every model whose licence does not clearly allow commercial use, so that none "
        "slips into paid work.",
        **ADVANCED,
    )


def Schema(**keywords) -> io.Schema:  # noqa: N802
    """`io.Schema` without the keywords this core does not know.

    Args:
        keywords: those of the newest `io.Schema`; `node_id` and the ids in it are kept as written.

    Returns:
        The schema. A core of 2025 refuses a pack that names `search_aliases`; this one does not.
    """
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in keywords.items() if name in known})


def bounding_box_input(name: str, **keywords):
    """A BOUNDING_BOX socket without the drawing widget, which one of the two frontends lacks.

    Newer pages make a widget of the type whatever the core's age, and would send its box with every
    prompt; a core that has no name for the wish passes it on unread.
    """
    if _accepts(BoundingBox.Input.__init__, "force_input"):
        keywords["force_input"] = True
    else:
        keywords["extra_dict"] = {"forceInput": True}
    return BoundingBox.Input(name, **keywords)


__all__ = [
    "ADVANCED",
    "CATEGORY",
    "BoundingBox",
    "ComfyExtension",
    "FacesType",
    "Schema",
    "bounding_box_input",
    "io",
    "ui",
]
