"""Provenance: what was done to each face, by which weights, and how sure it is still the person.

`Face.provenance` carries it from stage to stage; `facts` is what reports, PNG metadata and the
command line's JSON tell of it, `sentence` is the line that goes into a photo's own metadata.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..models import zoo
from . import geometry
from .faces import Face, Faces
from .host import Host

if TYPE_CHECKING:
    from .restore import Restored

#: Version of the layout of `facts`, raised when a reader of old reports would stumble.
LAYOUT = 1


@dataclass(frozen=True)
class ModelUse:
    """One model that worked on a face.

    name, title: of its card. card_sha256: hash of the card, which changes with any of its facts.
    weights_sha256: hash of the file that was run. code_license, weights_license: as published.
    commercial: "yes", "no" or "unclear".
    """

    name: str
    title: str
    card_sha256: str
    weights_sha256: str
    code_license: str
    weights_license: str
    commercial: str


@dataclass(frozen=True)
class Judgement:
    """What IdentityGuard measured and did.

    embedder: who compared. evidence: what it went by, see identity_guard. similarity_before,
    similarity_after: cosine of the restored face to that evidence as it came and as it left.
    probability_before, probability_after: likewise, of being the same person. action: what was
    done. invented: share of the detail of each region that the original does not support.
    """

    embedder: str
    evidence: str
    similarity_before: float
    similarity_after: float
    probability_before: float
    probability_after: float
    action: str
    invented: dict[str, float]


@dataclass(frozen=True)
class Provenance:
    """How a face came to be what it is.

    models: those that worked on it, in order; none where it was left alone. fidelity, strength,
    seed: their settings. reason: why these. filled: whether holes were filled from what is around
    them, without a model. judgement: IdentityGuard's, None without it.
    """

    models: tuple[ModelUse, ...] = ()
    fidelity: float | None = None
    strength: float | None = None
    seed: int | None = None
    reason: str = ""
    judgement: Judgement | None = None
    filled: bool = False


def model_use(name: str, host: Host | None = None) -> ModelUse:
    """The record of a model, the hash being that of its file on disk.

    One that is not of the zoo is recorded by its name alone.

    Raises:
        HubError: its file is not there and cannot be fetched.
    """
    if name not in zoo.CARDS:
        return ModelUse(name, name, "", "", "unknown", "unknown", "unclear")
    card = zoo.card(name)
    host = host or Host()
    path = zoo.locate(name, library=host.library, progress=host.progress)
    return ModelUse(
        name=card.name,
        title=card.title,
        card_sha256=card_hash(card),
        weights_sha256=host.library.sha256(path),
        code_license=card.code_license,
        weights_license=card.weights_license,
        commercial=card.commercial,
    )


def card_hash(card: zoo.ModelCard) -> str:
    """sha256 of a card: of its facts as JSON, keys sorted, sets as sorted lists."""
    text = json.dumps(asdict(card), sort_keys=True, default=sorted, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def after_restore(faces: Faces, restored: Restored, host: Host | None = None) -> Faces:
    """The same faces with what Restore did to each, and what it found where nobody had looked.

    What an earlier Restore did stays in the list of models; settings and reason are the last one's.

    Raises:
        ValueError: there is not one restored crop for each face.
    """
    if len(faces) != len(restored.models):
        raise ValueError(f"{len(restored.models)} restored crops for {len(faces)} faces")
    uses: dict[str, ModelUse] = {}
    marked = []
    for index, face in enumerate(faces):
        plan = restored.plans[index] if restored.plans else None
        single = (restored.models[index],) if restored.models[index] else ()
        names = plan.models if plan else single
        for name in names:
            uses.setdefault(name, model_use(name, host))
        found = restored.degradations[index] if restored.degradations else None
        before = face.provenance or Provenance()
        provenance = Provenance(
            models=(*before.models, *(uses[name] for name in names)),
            fidelity=plan.fidelity if plan else restored.fidelity,
            strength=plan.strength if plan else restored.strength,
            seed=restored.seed,
            reason=plan.reason if plan else "",
            filled=before.filled or bool(plan and plan.fill),
        )
        marked.append(replace(face, provenance=provenance, degradation=face.degradation or found))
    return faces.with_faces(marked)


def unrecorded(what: str) -> Provenance:
    """The record of a crop whose making nobody has noted, which is said to be `what`."""
    use = ModelUse("unrecorded", "an unrecorded model", "", "", "unknown", "unknown", "unclear")
    return Provenance((use,), reason=what)


def shown(faces: Faces, mask: Tensor) -> Faces:
    """The same faces, those of which nothing shows in a picture without the record of what was done
    to them.

    Args:
        mask: (frames, H, W), how much of each pixel was replaced; of the pictures of the faces, or
            of the same at another size.
    """
    down, across = mask.shape[1] / faces.height, mask.shape[2] / faces.width

    def shows(face: Face) -> bool:
        if face.crop is None:
            return False
        at = geometry.footprint(face.crop.matrix, face.crop.size, faces.height, faces.width)
        rows = slice(int(at.top * down), math.ceil(at.bottom * down))
        columns = slice(int(at.left * across), math.ceil(at.right * across))
        return bool(mask[face.frame, rows, columns].any())

    return faces.with_faces(
        face if face.provenance is None or shows(face) else replace(face, provenance=None)
        for face in faces
    )


def judged(face: Face, judgement: Judgement) -> Face:
    """The same face with IdentityGuard's judgement."""
    return replace(face, provenance=replace(face.provenance or Provenance(), judgement=judgement))


def facts(face: Face) -> dict:
    """What is known of one face, ready for JSON; numbers rounded to what they are good for."""
    provenance = face.provenance or Provenance()
    told = {
        "id": face.id,
        "frame": face.frame,
        "box": [round(value, 2) for value in face.box.tolist()],
        "models": [asdict(use) for use in provenance.models],
        "fidelity": provenance.fidelity,
        "strength": provenance.strength,
        "seed": provenance.seed,
        "reason": provenance.reason,
        "filled": provenance.filled,
        "findings": _findings(face),
        "severity": round(face.degradation.severity, 3) if face.degradation else None,
        "identity": None,
    }
    if provenance.judgement:
        told["identity"] = _rounded(asdict(provenance.judgement))
    return told


def _findings(face: Face) -> list[dict] | None:
    if face.degradation is None:
        return None
    return [
        {
            "kind": finding.kind,
            "strength": round(finding.strength, 3),
            "probability": round(finding.probability, 3),
            "severity": round(finding.severity, 3),
        }
        for finding in face.degradation.found()
    ]


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(own) for key, own in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None  # JSON knows no NaN
    return value


def report(faces: Faces) -> dict:
    """What is known of all faces, ready for JSON."""
    return {
        "layout": LAYOUT,
        "tool": "kintsugi-faces",
        "summary": sentence(faces),
        "faces": [facts(face) for face in faces],
    }


def sentence(faces: Faces) -> str:
    """One line for archives and newsrooms: how many faces, by whom, how much of it is made up."""
    known = [face.provenance for face in faces if face.provenance]
    refused = [own for own in known if own.judgement and own.judgement.action.startswith("refused")]
    touched = [own for own in known if (own.models or own.filled) and own not in refused]
    worked = [own for own in touched if own.models]
    filled = len(touched) - len(worked)
    parts = [] if touched else ["No face was restored"]
    if worked:
        names = dict.fromkeys(use.title for own in worked for use in own.models)
        parts.append(f"{_count(len(worked))} restored with {', '.join(names)}")
    if filled:
        parts.append(f"holes of {_count(filled)} filled from what is around them")
    judged = [own.judgement for own in touched if own.judgement]
    shares = [max(own.invented.values()) for own in judged if own.invented]
    if shares:
        parts.append(f"up to {max(shares):.0%} of the detail of a region is invented")
    if refused:
        count = len(refused)
        parts.append(f"{count} left as before, being no longer surely the same person")
    return "; ".join(parts) + "."


def _count(faces: int) -> str:
    return f"{faces} face{'s' * (faces > 1)}"
