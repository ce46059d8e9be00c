"""Finish kintsugi-degradation: python -m kintsugi.training.degradation_head --run RUN [--collect N]

Once the U-Net draws well it is frozen, and the head learns from samples that were stored beside the
other runs (`--collect`), again and again at little cost: their features are computed once. The last
layer of the heat map is taught along.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.damage_signs import DamageSigns
from kintsugi.models.degradation import Degradation
from kintsugi.training.degradation import WEIGHTS, figure_losses, hide, rate
from kintsugi.training.degradation_data import PARTS, Damaged, Faces, others
from kintsugi.training.session import begin

#: Samples of a stored file, and of a step.
FILE, BATCH = 200, 192

#: Share of the statistics that is hidden: few samples, seen often, are learned by heart without.
HIDDEN = 0.4


def collect(data: Path, folder: Path, count: int, seed: int) -> None:
    """Store `count` samples."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Damaged(Faces(data, "train", calibration=False), others(data), seed)
    rng, signs = np.random.default_rng([seed, 1]), DamageSigns()
    for index in range(count // FILE):
        drawn = [source.one(rng, signs) for _ in range(FILE)]
        parts = [torch.stack(part) for part in zip(*drawn, strict=True)]
        torch.save(dict(zip(PARTS, parts, strict=True)), folder / f"{seed}-{index:03}.pt")
        print(f"{(index + 1) * FILE} samples", flush=True)


@torch.inference_mode()
def features(network: Degradation, folder: Path) -> dict[str, Tensor]:
    """All stored samples: what the frozen U-Net makes of them in place of the pictures.

    "features" for the head, and "joined", (N, 16, 32, 32) half precision, for the heat map.
    """
    seen: list[Tensor] = []
    hook = network.picture.where.register_forward_hook(lambda _, x, __: seen.append(x[0].half()))
    kept: dict[str, list[Tensor]] = {}
    for path in sorted(folder.glob("*.pt")):
        stored = torch.load(path, weights_only=True)
        for view in stored.pop("view").split(40):
            view = (view.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            kept.setdefault("features", []).append(network.picture(view)[0])
        stored.pop("mask")
        for name, part in stored.items():
            kept.setdefault(name, []).append(part)
    hook.remove()
    return {name: torch.cat(parts) for name, parts in kept.items()} | {"joined": torch.cat(seen)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--run", type=Path, default=Path("runs/degradation"))
    parser.add_argument("--collect", type=int, default=0, help="store so many samples and stop")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    begin(options.seed, options.threads, options.run)
    folder = options.run / "samples"
    if options.collect:
        collect(options.data, folder, options.collect, options.seed)
        return
    network = Degradation().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(options.run / "last.pt", weights_only=True)["average"])
    stored = features(network, folder)
    count = len(stored["signs"])
    print(f"{count} samples", flush=True)
    network.picture.requires_grad_(False)
    network.picture.where.requires_grad_(True)
    learned = [value for value in network.parameters() if value.requires_grad]
    average = [value.detach().clone() for value in learned]
    optimiser = torch.optim.AdamW(learned, betas=(0.9, 0.99), weight_decay=0.05)
    rng = np.random.default_rng(options.seed)
    begun, total, step, sums = time.monotonic(), options.minutes * 60, 0, torch.zeros(7)
    while (now := time.monotonic() - begun) < total:
        for group in optimiser.param_groups:
            group["lr"] = rate(now / total, options.rate)
        chosen = torch.from_numpy(rng.choice(count, BATCH, replace=False))
        batch = {name: part[chosen] for name, part in stored.items()}
        signs = hide(batch["signs"], network, HIDDEN)
        figures = network.figures(batch["features"], signs, batch["zoom"])
        terms = figure_losses(figures, [batch[n] for n in ("present", "strength", "extras")])
        where = network.picture.where(batch["joined"].float())[:, 0] + figures[-1][:, None, None]
        face = batch["extras"][:, 4] == 1
        terms.append(F.l1_loss(where[face].sigmoid(), batch["where"][face]))
        weights = (*WEIGHTS[:6], WEIGHTS[7])
        loss = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        step += 1
        decay = min(0.995, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average, learned, strict=True):
                mean.lerp_(value, 1 - decay)
        sums += torch.stack([term.detach() for term in terms])
        if step % 100 == 0:
            print(f"{now / 60:.1f} min step {step}:", *(f"{v:.4f}" for v in sums / 100), flush=True)
            sums.zero_()
    with torch.no_grad():
        for mean, value in zip(average, learned, strict=True):
            value.copy_(mean)
    torch.save({"average": network.state_dict()}, options.run / "final.pt")
    print(f"{step} steps; weights in {options.run}", flush=True)


if __name__ == "__main__":
    main()
