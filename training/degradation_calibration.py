"""Calibrate kintsugi-degradation: python -m kintsugi.training.degradation_calibration --run RUN

On damaged faces of people of the training split whom training never saw: a slope and a shift for
each presence (Platt 1999), so that probabilities are frequencies of the mixture, and thresholds
from which a kind counts as present, so that few clean faces have any. Writes the file that ships
and prints the thresholds that belong into stages/degradation_estimate.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.damage_signs import DamageSigns
from kintsugi.models.degradation import Degradation
from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.training.degradation_data import PARTS, SIDES, Faces, unpack, vary
from kintsugi.training.mixture import choose, damage

#: Share of clean faces that may have a finding, over all kinds together.
FLAGGED = 0.02

#: How often each sort is drawn.
MIXTURE = {"clean": 0.35, "single": 0.25, "mixed": 0.4}

#: Kept in single precision: fixed bases, whose rounding would leak, and what is subtracted.
SINGLE = ("signs.", "mean", "deviation", "slope", "shift")


def collect(folder: Path, count: int, seed: int) -> dict[str, Tensor]:
    """`count` samples, PARTS of each stacked, and "clean"."""
    faces, rng, signs = (
        Faces(folder, "train", calibration=True),
        np.random.default_rng(seed),
        DamageSigns(),
    )
    parts: list[tuple[Tensor, ...]] = []
    clean = []
    for _ in range(count):
        how = str(rng.choice(list(MIXTURE), p=[*MIXTURE.values()]))
        side = int(rng.choice(list(SIDES), p=[*SIDES.values()]))
        face, least = faces.take(side, how != "mixed", rng)
        sample = damage(vary(face, rng), choose(rng, how), rng, least=least)
        parts.append(unpack(sample, 1.0, signs))
        clean.append(how == "clean")
    stacked = (torch.stack(part) for part in zip(*parts, strict=True))
    return dict(zip(PARTS, stacked, strict=True)) | {"clean": torch.tensor(clean)}


@torch.inference_mode()
def presences(network: Degradation, samples: dict[str, Tensor]) -> Tensor:
    """(N, 12) logits."""
    found = []
    for view, signs, zoom in zip(
        *(samples[name].split(32) for name in ("view", "signs", "zoom")), strict=True
    ):
        found.append(network.judge(view.float() / 127.5 - 1, signs, zoom).present)
    return torch.cat(found)


def platt(logits: Tensor, present: Tensor) -> tuple[float, float]:
    """Slope and shift that make sigmoid(slope * logit + shift) a frequency."""
    known = ~present.isnan()
    logits, present = logits[known], present[known]
    values = torch.tensor([1.0, 0.0], requires_grad=True)
    solver = torch.optim.LBFGS([values], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.binary_cross_entropy_with_logits(logits * values[0] + values[1], present)
        # A kind that is told apart without error would have an infinite slope.
        loss = loss + 1e-3 * (values[0] - 1).square()
        loss.backward()
        return loss

    solver.step(closure)
    return float(values[0].detach()), float(values[1].detach())


def thresholds(clean: Tensor) -> Tensor:
    """(12,) from the probabilities (N, 12) of clean faces; at least a half each."""
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        found = clean.quantile(1 - share, dim=0).clamp(min=0.5)
        flagged = float((clean > found).any(1).float().mean())
        low, high = (share, high) if flagged <= FLAGGED else (low, share)
    return clean.quantile(1 - low, dim=0).clamp(min=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--run", type=Path, default=Path("runs/degradation"))
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    kept = options.run / "calibration.pt"
    if kept.exists():
        samples = torch.load(kept, weights_only=True)
    else:
        samples = collect(options.data, options.count, options.seed)
        options.run.mkdir(parents=True, exist_ok=True)
        torch.save(samples, kept)
        print(f"{len(samples['clean'])} samples in {kept}", flush=True)
    final = options.run / "final.pt"
    if not final.exists():
        final = options.run / "last.pt"
    network = Degradation().eval()
    network.load_state_dict(torch.load(final, weights_only=True)["average"])
    logits = presences(network, samples)
    fits = [platt(logits[:, i], samples["present"][:, i]) for i in range(len(KINDS))]
    network.slope.copy_(torch.tensor([slope for slope, _ in fits]))
    network.shift.copy_(torch.tensor([shift for _, shift in fits]))
    probability = (logits * network.slope + network.shift).sigmoid()
    # A black and white photograph is not without a finding.
    clean = samples["clean"] & (samples["present"] == 0).all(1)
    for kind, fit, least in zip(KINDS, fits, thresholds(probability[clean]), strict=True):
        rounded = min(np.ceil(float(least) * 100 + 0.5) / 100, 0.99)
        print(f'    "{kind}": {rounded:.2f},  # slope {fit[0]:.2f}, shift {fit[1]:.2f}')
    weights = {
        name: (value if name.startswith(SINGLE) else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(weights, options.run / "kintsugi-degradation.safetensors")


if __name__ == "__main__":
    main()
