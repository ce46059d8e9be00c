"""Finish kintsugi-degradation: python -m kintsugi.training.degradation_head --features F --run RUN

Once the U-Net draws well it is frozen, and the head learns at little cost from many more samples,
of which degradation_features.py stored what it reads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kintsugi.models.degradation import Degradation
from kintsugi.training.degradation import WEIGHTS, figure_losses, hide, near
from kintsugi.training.degradation_features import Features
from kintsugi.training.muon import optimisers, take_step
from kintsugi.training.session import begin, rate

#: Samples of a step.
BATCH = 256

#: Share of the statistics that is hidden: samples seen often are learned by heart without.
HIDDEN = 0.2


@torch.inference_mode()
def levels(network: Degradation, stored: Features) -> Tensor:
    """(N,) level of the heat map, which the frozen U-Net draws beside it and must keep."""
    few = (stored.few[name].split(500) for name in ("signs", "zoom"))
    parts = zip(stored.seen.split(500), *few, strict=True)
    return torch.cat([network.figures(f, signs.float(), zoom)[-1] for f, signs, zoom in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, nargs="+", required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/degradation"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--hidden", type=float, default=HIDDEN)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    begin(options.seed, options.threads, options.run)
    stored = Features(options.features)
    network = Degradation()
    network.load_state_dict(torch.load(options.run / "final.pt", weights_only=True)["average"])
    network.picture.requires_grad_(False)
    level = levels(network, stored)
    print(f"{len(stored)} samples", flush=True)
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    learned = [value for _, value in named]
    average = [value.detach().clone() for value in learned]
    both = optimisers(named, ("out",), 0.05)
    rng = np.random.default_rng(options.seed)
    begun, total, step, sums = time.monotonic(), options.minutes * 60, 0, torch.zeros(6)
    while (now := time.monotonic() - begun) < total:
        chosen = torch.from_numpy(rng.choice(len(stored), BATCH, replace=False))
        few = {name: part[chosen] for name, part in stored.few.items()}
        signs = hide(few["signs"].float(), network, options.hidden)
        figures = network.figures(stored.seen[chosen], signs, few["zoom"])
        terms = figure_losses(figures, [few[name] for name in ("present", "strength", "extras")])
        loss = sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=False))
        loss = loss + near(figures[-1], level[chosen])
        take_step(network, both, loss, rate(now / total, options.rate))
        step += 1
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average, learned, strict=True):
                mean.lerp_(value, 1 - decay)
        sums += torch.stack([term.detach() for term in terms])
        if step % 200 == 0:
            print(f"{now / 60:.1f} min step {step}:", *(f"{v:.4f}" for v in sums / 200), flush=True)
            sums.zero_()
    with torch.no_grad():
        for mean, value in zip(average, learned, strict=True):
            value.copy_(mean)
    torch.save({"average": network.state_dict()}, options.run / "head.pt")
    print(f"{step} steps; weights in {options.run}", flush=True)


if __name__ == "__main__":
    main()
