"""Teach the U-Net of kintsugi-degradation to draw what is missing:
python -m kintsugi.training.degradation_maps --run RUN

A run of degradation.py spends most of its time on whole faces, of which little is mask. In between
this trains the U-Net alone on parts around holes, scratches and writing, many small steps, and
leaves a checkpoint from which degradation.py goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from kintsugi.models.degradation import Degradation
from kintsugi.training.degradation import cover, rate
from kintsugi.training.degradation_data import Faces, Spoilt
from kintsugi.training.session import begin

#: Faces a step, of four parts each.
BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--run", type=Path, default=Path("runs/degradation"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    begin(options.seed, options.threads, options.run)
    checkpoint = options.run / "last.pt"
    saved = torch.load(checkpoint, weights_only=True)
    network = Degradation().to(memory_format=torch.channels_last)
    network.load_state_dict(saved["network"])
    picture = network.picture
    optimiser = torch.optim.AdamW(picture.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    data = Spoilt(Faces(options.data, "train", calibration=False), options.seed)
    batches = iter(DataLoader(data, BATCH, num_workers=1, prefetch_factor=6))
    begun, total, kept = time.monotonic(), options.minutes * 60, 0.0
    step, mean = 0, 0.0
    while (now := time.monotonic() - begun) < total:
        for group in optimiser.param_groups:
            group["lr"] = rate(now / total, options.rate)
        seen, mask = (part.flatten(0, 1) for part in next(batches))
        view = (seen.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        loss = cover(picture(view)[1][:, 0], mask)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(picture.parameters(), 1.0)
        optimiser.step()
        step, mean = step + 1, mean + float(loss.detach())
        if step % 100 == 0:
            print(f"{now / 60:.1f} min step {step}: {mean / 100:.4f}", flush=True)
            mean = 0.0
        if now - kept > 120:
            kept = now
            torch.save({"network": network.state_dict()}, options.run / "maps.pt")
    saved |= {"network": network.state_dict(), "average": network.state_dict()}
    saved.pop("optimiser", None)
    torch.save(saved, checkpoint)
    print(f"{step} steps; weights in {checkpoint}", flush=True)


if __name__ == "__main__":
    main()
