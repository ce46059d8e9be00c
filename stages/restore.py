"""Restore: aligned faces rebuilt by one restorer, or each by what suits its damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models import zoo
from . import degradation_estimate, strategy
from . import steps as plan_steps
from .batch import check_crops
from .colour import luma
from .degradation_estimate import Degradation
from .faces import Faces
from .findings_text import names, sentence
from .framing import frame
from .host import Host
from .rebuild import RestoreError, anchored, as_holes, found_holes
from .strategy import Plan

__all__ = ["KINDS", "RestoreError", "Restored", "choose", "restore"]

#: Kinds of models that rebuild a face: all of it, its missing regions, or its colours.
KINDS = ("restorer", "inpainter", "colorizer")


@dataclass(frozen=True)
class Restored:
    """Restored crops and how they came about.

    crops: (N, S, S, 3) in [0, 1]. models: name of the model that made each, "" where a crop was
    left as it was. fidelity, strength, seed: as asked for. report: for a person, its first line on
    all faces. plans: what was done with each face and why. degradations: what was wrong with each,
    None for faces nobody looked at.
    """

    crops: Tensor
    models: tuple[str, ...]
    fidelity: float
    strength: float
    seed: int
    report: str
    plans: tuple[Plan, ...] = ()
    degradations: tuple[Degradation | None, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the report."""
        return self.report.partition("\n")[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each face was treated as it was."""
        return tuple(plan.reason for plan in self.plans)


def choose(
    model: str, commercial_only: bool = False, library: zoo.Library | None = None
) -> zoo.ModelCard:
    """The card that a model name stands for, or "auto": the best one whose file is in `library`.

    Raises:
        ValueError: no such restorer, or its licence does not pass the filter.
    """
    if model == "auto":
        return zoo.best_restorer(library, commercial_only=commercial_only)
    known = [name for name, card in zoo.CARDS.items() if card.kind in KINDS]
    if model not in known:
        raise ValueError(f"unknown restorer {model!r}; choose auto or one of {', '.join(known)}")
    card = zoo.CARDS[model]
    zoo.check_allowed(card, commercial_only)
    return card


def restore(
    crops: Tensor,
    *,
    model: str = "auto",
    fidelity: float = 0.5,
    strength: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
    missing: Tensor | None = None,
    commercial_only: bool = False,
    colourise: bool = False,
    faces: Faces | None = None,
    host: Host | None = None,
) -> Restored:
    """Restore aligned faces.

    Args:
        crops: (N, S, S, 3) in [0, 1], FFHQ-aligned, any S; N may be 0.
        model: a restorer of the zoo for all faces, or "auto": each face by the table of strategy,
            with what needs no download; faces that are fine are left as they are, bit for bit.
        fidelity: 0 (most detail) to 1 (closest to the input). Models with such a control of their
            own (ModelCard.fidelity) follow it. For the others 0.5 and less is their result as it
            is; above, its coarse structure (a 32nd of the side and more) moves to the input's,
            wholly at 1. With "auto" 0.5 is what the table says; less and more lean from it towards
            0 and 1.
        strength: 0 (the crop as it is) to 1 (the restored crop).
        seed: fixes the noise of models that draw some; every face gets the same, so that neither
            batches nor frames of a video change it.
        steps: of models that take several (flows); None takes their authors' number.
        missing: (N, S, S), (1, S, S) or (S, S) mask, 1 where a crop has no content; another size is
            resized. An inpainter fills it and leaves the rest as it is; others do without. "auto"
            fills it, beside what it finds itself, by an inpainter or else from what is around.
        commercial_only: refuse models whose licence does not clearly allow commercial use.
        colourise: let "auto" give grey faces colour, if it has a model for it.
        faces: the faces of the crops, N of them: "auto" acts on their findings, and looks at those
            without; reports name them.
        host: where to run; the CPU without it.

    Returns:
        Restored, crops float32 on the device they came on.

    Raises:
        ValueError: wrong shapes, settings out of range, refused licence, an inpainter without a
            mask.
        RestoreError: the network failed or gave values that are not numbers.
        HubError: the file of the model is not on disk and could not be fetched.
    """
    crops = check_crops(crops)
    for name, value in (("fidelity", fidelity), ("strength", strength)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; choose 0 to 1")
    count = crops.shape[0]
    if faces is not None and len(faces) != count:
        raise ValueError(f"{count} crops for {len(faces)} faces; wire those of one Align Faces")
    host = host or Host()
    card = choose(model, commercial_only, host.library)
    if card.kind == "inpainter" and missing is None:
        raise ValueError(f"{card.title} fills missing regions; give a mask that is 1 there")
    if not count or strength == 0:
        why = "no faces" if not count else "strength 0"
        plans = (Plan("", fidelity, strength, why),) * count
        report = f"{why}: nothing restored"
        nobody = (None,) * count
        return Restored(crops, ("",) * count, fidelity, strength, seed, report, plans, nobody)
    if crops.shape[-1] != 3:
        crops = crops[..., :1].expand(-1, -1, -1, 3) if crops.shape[-1] == 1 else crops[..., :3]
    full = crops.permute(0, 3, 1, 2).float()
    if card.kind == "colorizer":
        full = luma(full).expand(-1, 3, -1, -1)
    holes = None if missing is None else as_holes(missing, full)
    degradations: tuple[Degradation | None, ...] = (None,) * count
    if model == "auto":
        degradations = _degradations(crops, faces, host)
        stock = strategy.stock(host.library, commercial_only)
        rows = frame(faces, full.shape[-1])
        size = rows.stop - rows.start
        plans, holes = _decide(degradations, full, size, holes, stock, colourise)
        plans = [replace(plan, fidelity=_lean(plan.fidelity, fidelity)) for plan in plans]
        whole = plan_steps.filled(full, plans, holes, host, seed, steps)
        plans = plan_steps.undoing(plans, degradations, whole, faces, host)
    else:
        plans, whole = [Plan(card.name, fidelity, 1.0, "asked for")] * count, full
    plans = tuple(replace(plan, strength=plan.strength * strength) for plan in plans)
    restored = plan_steps.follow(whole, plans, degradations, holes, host, seed, steps)
    for index, plan in enumerate(plans):
        if plan.works and plan.strength < 1:
            restored[index] = torch.lerp(full[index], restored[index], plan.strength)
    if model == "auto":
        called = names(faces, faces.frames) if faces else [f"face {i}" for i in range(count)]
        lines = [_summary(plans), *map(sentence, called, degradations, plans)]
    else:
        lines = [f"{count} face{'s' if count > 1 else ''} restored with {card.title}"]
        if "fidelity" in card.controls or anchored(card, fidelity):
            lines[0] += f", fidelity {fidelity:g}"
    if strength < 1:
        lines[0] += f", strength {strength:g}"
    return Restored(
        restored.permute(0, 2, 3, 1).contiguous(),
        tuple(plan.model or plan.colorizer or plan.inpainter for plan in plans),
        fidelity,
        strength,
        seed,
        "\n".join(lines),
        plans,
        degradations,
    )


def _degradations(crops: Tensor, faces: Faces | None, host: Host) -> tuple[Degradation, ...]:
    """What is wrong with each crop: the findings the faces carry, else a look at those without."""
    known = [face.degradation for face in faces] if faces else [None] * len(crops)
    unseen = [index for index, one in enumerate(known) if one is None]
    if unseen:
        theirs = faces.with_faces(faces[index] for index in unseen) if faces else None
        found = degradation_estimate.estimate(crops[unseen], faces=theirs, host=host)
        for index, one in zip(unseen, found, strict=True):
            known[index] = one
    return tuple(known)


def _decide(
    degradations: Sequence[Degradation],
    full: Tensor,
    size: int,
    holes: Tensor | None,
    stock: strategy.Stock,
    colourise: bool,
) -> tuple[list[Plan], Tensor]:
    """The plan of each face that is shown at `size` px, and all there is to fill: what the user
    says and what was found."""
    plans = [strategy.plan(one, size, stock, colourise=colourise) for one in degradations]
    for index, plan in enumerate(plans):
        if holes is not None and holes[index].any():
            reason = f"{plan.reason}; filled where masked"
            way = stock.inpainter or ""
            plans[index] = replace(plan, inpainter=way, fill=not way, reason=reason)
    found = found_holes(degradations, full)
    return plans, found if holes is None else torch.maximum(found, holes)


def _lean(planned: float, wish: float) -> float:
    """The planned fidelity at a wish of 0.5; 0 at 0 and 1 at 1."""
    return planned * 2 * wish if wish < 0.5 else planned + (1 - planned) * (2 * wish - 1)


def _summary(plans: Sequence[Plan]) -> str:
    """One line on all faces: how many were left as they are, how many each model restored."""
    count, left = len(plans), sum(not plan.works for plan in plans)
    parts = [f"{left} left as {'it is' if left == 1 else 'they are'}"] if left else []
    for name, members in Counter(plan.models for plan in plans if plan.models).items():
        parts.append(f"{members} restored with {' and '.join(zoo.card(n).title for n in name)}")
    if filled := sum(plan.works and not plan.models for plan in plans):
        parts.append(f"{filled} filled from what is around its holes")
    return f"{count} face{'s' * (count > 1)}: {', '.join(parts)}"
