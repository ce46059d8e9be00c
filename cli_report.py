"""What `kintsugi --report` tells of a photo: what was done to it, face by face, and why."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor

from .cli_plan import Job
from .stages.degradation_estimate import Degradation
from .stages.faces import Face, Faces
from .stages.findings_text import words
from .stages.identity_guard import Guarded
from .stages.provenance import facts
from .stages.restore import Restored
from .stages.strategy import Plan

#: Verdicts of the guard that a photo's line on the screen names at most.
_TOLD = 3


@dataclass(frozen=True)
class Mended:
    """A restored picture: image (1, H, W, 3), mask (1, H, W), and how it came about.

    notes: what the blend has to say.
    """

    image: Tensor
    mask: Tensor
    faces: Faces
    restored: Restored
    seconds: dict[str, float]
    guarded: Guarded | None = None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was done, in one line."""
        told = [self.restored.summary]
        if self.guarded is not None:
            changed = [word for word in self.guarded.actions if not word.endswith("kept")]
            told += [", ".join(changed[:_TOLD]) + (", ..." if len(changed) > _TOLD else "")]
        return "; ".join(part for part in told if part)


def report(job: Job, mended: Mended) -> dict:
    """What was done to one photo, for --report.

    Convention: pixels of the upright picture, the centre of the first pixel is (0, 0).
    """
    faces, restored = mended.faces, mended.restored
    return {
        "photo": job.source.name,
        "result": job.result.name,
        "width": faces.width,
        "height": faces.height,
        "changed_share": round(float((mended.mask > 0).float().mean()), 6),
        "seconds": mended.seconds,
        "summary": restored.summary,
        "guard": mended.guarded.report.splitlines() if mended.guarded else None,
        "blend": list(mended.notes),
        "faces": [
            _face(face, plan, found, restored.seed)
            for face, plan, found in zip(faces, restored.plans, restored.degradations, strict=True)
        ],
        "versions": {
            "kintsugi": version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _face(face: Face, plan: Plan, found: Degradation | None, seed: int) -> dict:
    """One face: where it is, what is wrong with it, what was done and why."""
    return {
        "id": face.id,
        "box": [round(value, 2) for value in face.box.tolist()],
        "points": [[round(x, 2), round(y, 2)] for x, y in face.points.tolist()],
        "score": round(face.score, 4),
        "model": plan.model,
        "models": list(plan.models),
        "filled": plan.fill,
        "motion": plan.trail
        and {
            "length": round(plan.trail.length, 2),
            "angle": round(plan.trail.angle, 2),
        },
        "lens_blur": plan.lens and round(plan.lens.sigma, 2),
        "mosaic": round(plan.mosaic.block, 2) if plan.mosaic else None,
        "fidelity": round(plan.fidelity, 4),
        "strength": round(plan.strength, 4),
        "seed": seed,
        "reason": plan.reason,
        "severity": round(found.severity, 3) if found else None,
        "findings": _findings(found) if found else None,
        "print_dots": round(found.screen.dots, 1) if found and found.screen else None,
        "weights": facts(face)["models"],
        "identity": facts(face)["identity"],
    }


def _findings(found: Degradation) -> list[dict]:
    """What is present, the worst first; lengths in pixels of the face crop."""
    return [
        {
            "kind": finding.kind,
            "strength": round(finding.strength, 3),
            "probability": round(finding.probability, 3),
            "severity": round(finding.severity, 3),
            "angle": None if finding.angle is None else round(finding.angle, 1),
            "words": words(finding, found),
        }
        for finding in found.found()
    ]


def version() -> str:
    """The version that is installed."""
    try:
        return metadata.version("kintsugi-faces")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
