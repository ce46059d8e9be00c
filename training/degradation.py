"""Train kintsugi-degradation: python -m kintsugi.training.degradation --samples FOLDER --out RUN

Learns from what degradation_samples.py stored; torchrun teaches on several cores (crew.py). The
schedule follows the clock and always ends annealed; a run that was cut off goes on from its last
checkpoint with the time it had left. Afterwards degradation_head.py teaches the head alone, on
samples that this training did not see, and degradation_calibration.py makes the shipped file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.degradation import Degradation
from kintsugi.training.crew import agree, join, leave
from kintsugi.training.degradation_samples import Samples
from kintsugi.training.muon import optimisers, take_step
from kintsugi.training.session import begin, rate

BATCH = 16

#: Share of a batch from which something is missing, for the mask has most to learn.
MISSING = 0.6

#: Share of the statistics that is hidden in training, against learning faces by heart.
HIDDEN = 0.1

#: Parts that read what comes in or write what goes out, whose weights are not for Muon.
OUTER = ("picture.stem", "picture.place", "picture.where", "picture.missing", "condense", "out")

#: Weights of the losses: presence, strength, direction, shot, grain, face, missing, where.
WEIGHTS = (1.0, 1.0, 0.15, 0.05, 0.05, 0.1, 1.5, 0.5)


def known(values: Tensor, wanted: Tensor, loss) -> Tensor:
    """Mean loss where `wanted` is a number."""
    seen = ~wanted.isnan()
    return loss(values[seen], wanted[seen]) if seen.any() else values.sum() * 0


def near(values: Tensor, wanted: Tensor) -> Tensor:
    return F.smooth_l1_loss(values, wanted, beta=0.1)


def cover(drawn: Tensor, mask: Tensor) -> Tensor:
    """How badly masks (N, S, S) are drawn: cross-entropy and, where there is one, 1 - Dice."""
    mask = mask.float()
    bare = F.binary_cross_entropy_with_logits(drawn, mask)
    some = mask.sum((1, 2)) > 30
    if not some.any():
        return 4 * bare
    drawn, mask = drawn[some].sigmoid(), mask[some]
    both = (drawn * mask).sum((1, 2))
    return 4 * bare + (1 - (2 * both + 1) / (drawn.sum((1, 2)) + mask.sum((1, 2)) + 1)).mean()


def figure_losses(figures: Sequence[Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """One loss for each of WEIGHTS but the maps."""
    (present, strength, direction, shot, grain, face, _), (here, much, extras) = figures, parts
    binary = F.binary_cross_entropy_with_logits
    return [
        known(present, here, binary),
        known(strength, much, near),
        known(direction, extras[:, :2], near),
        known(shot, extras[:, 2], binary),
        known(grain, extras[:, 3], near),
        known(face, extras[:, 4], binary),
    ]


def map_losses(
    missing: Tensor, where: Tensor, face: Tensor, mask: Tensor, wanted: Tensor
) -> list[Tensor]:
    """One loss for each of the maps."""
    drawn = where[face == 1, 0].sigmoid()
    return [cover(missing[face == 1, 0], mask[face == 1]), F.l1_loss(drawn, wanted[face == 1])]


def hide(signs: Tensor, network: Degradation, share: float = HIDDEN) -> Tensor:
    """The statistics with a share of them at their mean."""
    return torch.where(torch.rand(signs.shape) < share, network.mean, signs)


def draw(samples: Samples, chances: np.ndarray, rng: Generator) -> list[Tensor]:
    """A batch: view in [-1, 1], signs, zoom, present, strength, extras, mask, where.

    Some views and maps are mirrored. Their statistics are not, so that only these tell the
    direction of motion.
    """
    index = rng.choice(len(samples), BATCH, p=chances)
    maps = []
    for sample in index:
        drawn = samples.maps(int(sample))
        maps.append([part.flip(-1) for part in drawn] if rng.random() < 0.5 else drawn)
    views, masks, wheres = (torch.stack(part) for part in zip(*maps, strict=True))
    few = [samples.few[name][index] for name in ("signs", "zoom", "present", "strength", "extras")]
    return [views.float() / 127.5 - 1, few[0].float(), *few[1:], masks, wheres.float()]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/degradation"))
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--half", action="store_true", help="the U-Net in bfloat16, for processors that have it"
    )
    parser.add_argument("--start", type=Path, help="weights to start from")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    begin(options.seed, options.threads, options.out)
    rank = join()
    samples = Samples(options.samples)
    missing = samples.few["missing"].bool().numpy()
    chances = np.where(missing, MISSING / missing.sum(), (1 - MISSING) / (~missing).sum())
    network = Degradation().to(memory_format=torch.channels_last)
    average = Degradation().eval().requires_grad_(False)
    both = optimisers(network.named_parameters(), OUTER, 0.02)
    step, spent = 0, 0.0
    checkpoint = options.out / "last.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        for optimiser, state in zip(both, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        average.load_state_dict(saved["average"])
        step, spent = saved["step"], saved["spent"]
    elif options.start:
        learned = torch.load(options.start, weights_only=True)["average"]
        network.load_state_dict(network.state_dict() | learned)  # blocks it lacks stay idle
        average.load_state_dict(network.state_dict())
    else:
        signs = samples.few["signs"][::8].float()
        network.mean.copy_(signs.mean(0))
        network.deviation.copy_(signs.std(0).clamp(min=0.02))
        average.load_state_dict(network.state_dict())
    print(f"{len(samples)} samples", flush=True)

    total, begun, saved_at = options.minutes * 60, time.monotonic(), spent
    sums = torch.zeros(len(WEIGHTS) + 1)
    torch.manual_seed(options.seed + rank)
    rng = np.random.default_rng([options.seed, step, rank])
    while (now := agree(spent + time.monotonic() - begun)) < total:
        view, signs, zoom, *parts = draw(samples, chances, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.half):
            features, drawn, where = network.picture(view)
        figures = network.figures(features, hide(signs, network), zoom)
        where = where + figures[-1].view(-1, 1, 1, 1)
        terms = figure_losses(figures, parts[:3])
        terms += map_losses(drawn, where, parts[2][:, 4], *parts[3:])
        loss = sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True))
        take_step(network, both, loss, rate(now / total, options.rate))
        step += 1
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        sums += torch.stack([loss.detach(), *(term.detach() for term in terms)])
        if step % 100 == 0 and rank == 0:
            told = " ".join(f"{value:.4f}" for value in (sums / 100).tolist())
            sums.zero_()
            print(f"{now / 60:.1f} min step {step}: {told}", flush=True)
        if now - saved_at > 180 and rank == 0:
            saved_at = now
            state = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"optimisers": [each.state_dict() for each in both]}
            state |= {"step": step, "spent": now}
            torch.save(state, checkpoint)
    if rank == 0:
        torch.save({"average": average.state_dict()}, options.out / "final.pt")
        print(f"{step} steps; weights in {options.out}", flush=True)
    leave()


if __name__ == "__main__":
    main()
