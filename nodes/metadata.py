"""What Blend hands on about its faces: a report, and the record that saved pictures carry.

ComfyUI's own mechanism: whatever stands in a prompt's `extra_pnginfo` is written into the file by
SaveImage and its like, each entry under its own name. Ours is `kintsugi`, one record for each Blend
node, or a list of them where ComfyUI runs the node once for each picture of a list, which it saves
with one and the same entry. It is there in runs in which Blend itself runs; a picture that is saved
again under another name while Blend's result comes from the cache has no record, nor has a prompt
without `extra_pnginfo`, as scripts send it.
"""

from __future__ import annotations

import json

from ..stages.faces import Faces
from ..stages.provenance import report

#: Name of the entry in the metadata of saved pictures.
ENTRY = "kintsugi"


def told(faces: Faces, notes: list[str]) -> str:
    """A report for a person, and below it the record as JSON where anything is known."""
    if not any(face.provenance for face in faces):
        return "\n".join(notes)
    record = report(faces)
    return "\n".join([record["summary"], *notes, "", json.dumps(record, indent=1)])


def keep(node, faces: Faces) -> None:
    """Put the record where the nodes that save this prompt's pictures find it."""
    hidden = node.hidden
    info = hidden.extra_pnginfo if hidden else None
    if not isinstance(info, dict):
        return
    name = str(hidden.unique_id)
    known = info.get(ENTRY, {}).get(name)
    if known is None and not any(face.provenance for face in faces):
        return
    own = report(faces)
    joined = own if known is None else [*(known if isinstance(known, list) else [known]), own]
    info.setdefault(ENTRY, {})[name] = joined
