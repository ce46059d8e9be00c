"""Calibrate kintsugi-degradation:
python -m kintsugi.training.degradation_calibration --samples FOLDER --run RUN

On damaged faces of people of the training split whom training never saw (`degradation_samples
--kept`): a slope and a shift for each presence (Platt 1999), so that probabilities are frequencies
of the mixture, a shift of the mask, so that it overlaps best, and thresholds from which a kind
counts as present, so that few clean faces have any. Writes the file that ships and prints the
thresholds that belong into stages/degradation_estimate.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.degradation import Degradation
from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.training.degradation_samples import Samples
from kintsugi.training.session import begin

#: Share of clean faces that may have a finding, over all kinds together: a third of what was asked
#: for, as people who had no say in the thresholds have more.
FLAGGED = 0.01

#: Shifts of the mask's logits that are tried.
EDGES = tuple(0.25 * step for step in range(-8, 9))

#: Kept in single precision: fixed bases, whose rounding would leak, and what is subtracted.
SINGLE = ("signs.", "mean", "deviation", "slope", "shift", "edge")


def average(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of several trainings from one start, which errs less than each (Wortsman et al.,
    "Model soups", 2022)."""
    states = [torch.load(path, weights_only=True)["average"] for path in paths]
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def in_bytes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of a matrix (M, N) as whole numbers (M, N) int8 of a step each (M, 1)."""
    step = matrix.abs().amax(1, keepdim=True) / 127
    return (matrix / step).round().to(torch.int8), step


@torch.inference_mode()
def look(network: Degradation, samples: Samples) -> tuple[Tensor, Tensor]:
    """Presence logits (N, 12), and how well the masks of what is missing overlap for each of EDGES:
    (M, len(EDGES)) intersection over union."""
    found, overlaps = [], []
    for index in range(len(samples)):
        view, mask, _ = samples.maps(index)
        few = (samples.few[name][index : index + 1] for name in ("signs", "zoom"))
        signs, zoom = few
        reading = network.judge(view[None].float() / 127.5 - 1, signs.float(), zoom)
        found.append(reading.present)
        if samples.few["present"][index, KINDS.index("missing")] == 1:
            drawn = [reading.missing[0, 0] > -edge for edge in EDGES]
            shares = [(d & mask).sum() / (d | mask).sum().clamp(min=1) for d in drawn]
            overlaps.append(torch.stack(shares))
    return torch.cat(found), torch.stack(overlaps)


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
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/degradation"))
    parser.add_argument(
        "--heads", type=Path, nargs="+", help="of one U-Net, averaged; RUN/head.pt if left out"
    )
    options = parser.parse_args()
    begin(0, 1, options.run)
    samples = Samples(options.samples)
    network = Degradation().eval()
    network.load_state_dict(average(options.heads or [options.run / "head.pt"]))
    narrow, step = in_bytes(network.condense.weight.detach())
    network.condense.weight.data = narrow * step
    logits, overlaps = look(network, samples)
    present = samples.few["present"]
    fits = [platt(logits[:, i], present[:, i]) for i in range(len(KINDS))]
    network.slope.copy_(torch.tensor([slope for slope, _ in fits]))
    network.shift.copy_(torch.tensor([shift for _, shift in fits]))
    overlap = overlaps.mean(0)
    network.edge.fill_(EDGES[int(overlap.argmax())])
    print(
        f"{len(samples)} samples; mask shifted by {float(network.edge):.2f}: mean overlap "
        f"{float(overlap.max()):.3f} instead of {float(overlap[EDGES.index(0.0)]):.3f}"
    )
    probability = (logits * network.slope + network.shift).sigmoid()
    # A black and white photograph is not without a finding.
    clean = samples.few["clean"] & (present == 0).all(1)
    for kind, fit, least in zip(KINDS, fits, thresholds(probability[clean]), strict=True):
        rounded = min(np.ceil(float(least) * 100 + 0.5) / 100, 0.99)
        print(f'    "{kind}": {rounded:.2f},  # slope {fit[0]:.2f}, shift {fit[1]:.2f}')
    weights = {
        name: (value if name.startswith(SINGLE) else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    weights |= {"condense.weight": narrow, "condense.step": step}
    save_file(weights, options.run / "kintsugi-degradation.safetensors")


if __name__ == "__main__":
    main()
