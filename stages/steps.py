"""Steps: what plans of strategy.py say, done to crops.

Holes are filled first, for whatever comes next would smear them; then the dots of a print are taken
out, strong noise is taken down and damage that can be measured is taken back; then models rebuild
what is left, and colour it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..models import zoo
from . import broad, colour, deblur, denoise, mosaic, screen, strategy, symmetry
from .degradation_estimate import Degradation
from .faces import Faces
from .fill import fill
from .host import Host
from .rebuild import rebuild
from .strategy import Plan

#: What is found in a crop of which nothing but a mosaic is wrong.
_OF_A_MOSAIC = {"pixelation", "resolution", "blur"}


def filled(
    full: Tensor, plans: Sequence[Plan], holes: Tensor, host: Host, seed: int, steps: int | None
) -> Tensor:
    """Crops (N, 3, S, S) without their holes, which whatever comes next would smear, and without
    the dots of their print."""
    if not any(plan.fill or plan.inpainter or plan.screen for plan in plans):
        return full
    result = full.clone()
    for index, plan in enumerate(plans):
        if plan.fill:
            picture, mask = full[index].permute(1, 2, 0), holes[index, 0]
            plain = fill(picture, mask, seed=seed).permute(2, 0, 1)
            result[index] = symmetry.complete(plain, mask)
            host.progress(index + 1, len(plans))
    _rebuild(result, plans, "inpainter", holes, host, seed, steps)
    for index, plan in enumerate(plans):
        if plan.inpainter and plan.toned:
            _toned(result[index], full[index], holes[index, 0], seed)
        if plan.screen:
            result[index] = screen.remove(result[index], plan.screen)
    return result


def _toned(crop: Tensor, damaged: Tensor, mask: Tensor, seed: int) -> None:
    """Give the filled holes of a crop (3, S, S) in place the tones of what is around them."""
    around = fill(damaged.permute(1, 2, 0), mask, seed=seed).permute(2, 0, 1)
    crop.lerp_(colour.keep(crop, around), mask)


def undoing(
    plans: Sequence[Plan],
    degradations: Sequence[Degradation],
    whole: Tensor,
    faces: Faces | None,
    host: Host,
) -> list[Plan]:
    """The plans with what can be taken back of the damage of each crop (3, S, S) of `whole`; faces
    tell of how many pixels of the picture it was made."""
    undoing = list(plans)
    crops = [face.crop for face in faces] if faces else [None] * len(plans)
    for index, (plan, one, crop) in enumerate(zip(plans, degradations, crops, strict=True)):
        if plan.model:
            undoing[index] = _undone(plan, one, whole[index], crop and crop.native)
            host.progress(index + 1, len(plans))
    return undoing


def _undone(plan: Plan, degradation: Degradation, crop: Tensor, native: float | None) -> Plan:
    """The plan with what can be taken back of the damage before a restorer guesses."""
    noise = denoise.told(degradation)
    if noise and strategy.BUILT_IN_MODEL in (plan.denoiser, plan.model):
        plan = replace(plan, noise=noise, reason=f"{plan.reason}; noise taken down first")
    if degradation.finding("pixelation").present:
        found = mosaic.Mosaic(degradation.finding("pixelation").strength, native)
        reason = f"{plan.reason}; the mosaic's steps smoothed first"
        return replace(plan, mosaic=found, reason=reason)
    trail = deblur.trail(crop, degradation, native)
    if trail is not None:
        reason = f"{plan.reason}; the motion could be measured and was taken back first"
        return replace(plan, trail=trail, reason=reason)
    lens = deblur.lens(degradation)
    if lens is None or plan.model != strategy.BUILT_IN_MODEL:
        return plan
    reason = f"{plan.reason}; detail that the restorer bears out is divided out of the blur"
    # A restorer smaller than the face would take what was divided away again.
    pixels = min(native or crop.shape[-1], crop.shape[-1])
    twice = deblur.certain(degradation) and pixels <= zoo.card(plan.model).crop
    return replace(plan, lens=lens, twice=twice, reason=reason)


def follow(
    whole: Tensor,
    plans: Sequence[Plan],
    degradations: Sequence[Degradation | None],
    holes: Tensor | None,
    host: Host,
    seed: int,
    steps: int | None,
) -> Tensor:
    """Crops (N, 3, S, S), their holes filled, after the other steps of their plans."""
    result = whole.clone()
    for index, plan in enumerate(plans):
        if plan.noise:
            result[index] = denoise.denoise(result[index], plan.noise)
        if plan.trail:
            result[index] = deblur.deblur(result[index], plan.trail)
        if plan.mosaic:
            result[index] = mosaic.smooth(result[index], plan.mosaic)
        host.progress(index + 1, len(plans))
    for step in ("denoiser", "model"):
        _rebuild(result, plans, step, holes, host, seed, steps)
    _divide(whole, result, plans, holes, host, seed, steps)
    for index, (plan, found) in enumerate(zip(plans, degradations, strict=True)):
        if plan.model == strategy.BUILT_IN_MODEL and found:
            mask = None if holes is None else holes[index]
            result[index] = broad.kept(whole[index], result[index], found, mask)
        if plan.mosaic and found and {one.kind for one in found.found()} <= _OF_A_MOSAIC:
            # Hair around a hidden face needs no restorer.
            place = mosaic.within(whole[index], plan.mosaic)
            if place is not None:
                result[index] = torch.lerp(whole[index], result[index], place)
        if plan.model and plan.toned:
            result[index] = colour.keep(result[index], whole[index])
    _rebuild(result, plans, "colorizer", holes, host, seed, steps)
    return result


def _divide(
    whole: Tensor,
    result: Tensor,
    plans: Sequence[Plan],
    holes: Tensor | None,
    host: Host,
    seed: int,
    steps: int | None,
) -> None:
    """Give the restored crops (N, 3, S, S) in place what a lens blur left to be divided out."""
    blurred = [index for index, plan in enumerate(plans) if plan.lens]
    if not blurred:
        return
    divided = torch.stack([deblur.deblur(whole[index], plans[index].lens) for index in blurred])
    after = divided.clone()
    again = [plans[index] for index in blurred]
    again = [plan if plan.twice else replace(plan, model="") for plan in again]
    few = None if holes is None else holes[blurred]
    _rebuild(after, again, "model", few, host, seed, steps)
    for index, one, other in zip(blurred, divided, after, strict=True):
        result[index] = deblur.shared(whole[index], result[index], one, other)


def _rebuild(
    crops: Tensor,
    plans: Sequence[Plan],
    step: str,
    holes: Tensor | None,
    host: Host,
    seed: int,
    steps: int | None,
) -> None:
    """Take one step of the plans on crops (N, 3, S, S) in place, the faces of a model together."""
    groups: dict[tuple[str, float], list[int]] = {}
    for index, plan in enumerate(plans):
        if name := getattr(plan, step):
            # What goes before has to stay true; how much to invent is the restorer's question.
            fidelity = plan.fidelity if step == "model" else 1.0
            groups.setdefault((name, fidelity), []).append(index)
    for (name, fidelity), members in sorted(groups.items()):
        crops[members] = rebuild(
            crops[members],
            zoo.card(name),
            host,
            fidelity=fidelity,
            seed=seed,
            steps=steps,
            holes=None if holes is None else holes[members],
        )
