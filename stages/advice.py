"""What DegradationEstimate shows: the faces with their findings, a report, a heat map."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from . import degradation_estimate
from .batch import check_crops
from .faces import Faces
from .findings_text import names, report
from .framing import frame
from .heat_map import heat_map
from .host import Host
from .strategy import plan, stock


@dataclass(frozen=True)
class Advice:
    """What is wrong with the faces of a batch and what to do.

    faces: each with its degradation. severity: of the worst face, 0 without a face. report: a line
    on all, then one for each face. heat_map: (N, S, S, 3) in [0, 1].
    """

    faces: Faces
    severity: float
    report: str
    heat_map: Tensor


def advise(
    crops: Tensor,
    faces: Faces,
    *,
    opacity: float = 0.7,
    commercial_only: bool = False,
    host: Host | None = None,
) -> Advice:
    """Look at every crop, and say what Restore would do with what is on disk.

    Args:
        crops: (N, S, S, C) in [0, 1], one for each face in order; N may be 0.
        faces: the aligned faces, N of them.
        opacity: of the heat map's colours, 0 to 1.
        commercial_only: advise only models whose licence clearly allows commercial use.

    Raises:
        ValueError: not one crop for each face, or other shapes than these.
    """
    crops = check_crops(crops)
    if crops.shape[0] != len(faces):
        raise ValueError(f"{crops.shape[0]} crops for {len(faces)} faces; wire those of one node")
    host = host or Host()
    found = degradation_estimate.estimate(crops, faces=faces, host=host) if len(faces) else []
    models = stock(host.library, commercial_only) if found else None
    rows = frame(faces, crops.shape[1])
    plans = [plan(one, rows.stop - rows.start, models) for one in found]
    return Advice(
        faces.with_faces(
            replace(face, degradation=one) for face, one in zip(faces, found, strict=True)
        ),
        max((one.severity for one in found), default=0.0),
        report(names(faces, faces.frames), found, plans),
        heat_map(crops, found, opacity=opacity),
    )
