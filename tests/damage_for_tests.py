"""Findings written by hand, for tests that need no estimator."""

from __future__ import annotations

import torch

from kintsugi.stages.degradation_estimate import KINDS, Degradation, Finding

#: Strength that each kind is given where it is not present.
_ABSENT = {"jpeg": 95.0, "resolution": 1.0}


def degradation(
    severity: float = 0.0,
    *,
    face: float = 0.95,
    angle: float = 30.0,
    grain: float = 0.0,
    shot: float = 0.0,
    where: torch.Tensor | None = None,
    hole: tuple[slice, slice] | None = None,
    **strengths: float,
) -> Degradation:
    """Damage of the named kinds, each wholly sure, the rest absent; `hole` is in a 256 px map.

    Together they have that severity; the kinds named first are the worst.
    """
    order = list(strengths)
    shares = {kind: len(order) - place for place, kind in enumerate(order)}
    findings = [
        Finding(
            kind,
            strengths.get(kind, _ABSENT.get(kind, 0.0)),
            probability=0.99 if kind in strengths else 0.01,
            severity=1 - (1 - severity) ** (shares.get(kind, 0) / max(sum(shares.values()), 1)),
            angle=angle if kind == "motion" else None,
            shot=shot if kind == "noise" else 0.0,
            grain=grain if kind == "noise" else 0.0,
        )
        for kind in KINDS
    ]
    missing = torch.zeros(256, 256)
    if hole:
        missing[hole] = 1.0
    where = torch.full((32, 32), severity) if where is None else where
    return Degradation(tuple(findings), severity, where, missing, face)
