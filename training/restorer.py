"""Train kintsugi-restorer: python training/restorer.py --data ../shared/faces --minutes 75

The schedule follows the clock, so that it always ends annealed; a run that was cut off goes on from
its last checkpoint with the time it had left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from kintsugi.models.restorer import Restorer
from kintsugi.training.data import Portraits, portraits
from kintsugi.training.degradations import degrade
from kintsugi.training.losses import charbonnier, edges, likeness, texture
from kintsugi.training.muon import optimisers, take_step
from kintsugi.training.session import begin, rate
from kintsugi.training.teachers import Identity

SIZE = 256

#: How often each strength is drawn.
MIXTURE = {"clean": 0.06, "light": 0.29, "medium": 0.35, "heavy": 0.30}

#: The same during the first phase.
MILD = {"clean": 0.05, "light": 0.55, "medium": 0.40}

#: How much more often a photograph of a real person is drawn than a generated face.
REAL = 3.0

#: Weights: edges beside pixels; texture and features (times 1 - fidelity) and identity beside the
#: share of the damage that is left.
EDGES, TEXTURE, FEATURES, IDENTITY = 0.5, 0.1, 0.1, 0.15

#: Parts that read what comes in or write what goes out, whose weights are not for Muon.
OUTER = ("stem", "loudness", "mood", "condition", "out", "gate")

#: Damage, in the units of the pixel loss, below which a picture counts as good already.
GOOD = 0.02


#: One batch in WHOLE is of whole crops and judged for likeness, once the parts are that large.
WHOLE = 4


@dataclass(frozen=True)
class Phase:
    """One part of the schedule.

    until: share of the time at which it ends. side: of the parts cut from the crops, px. pictures,
    parts: how many pictures a step, how many parts of each. plain: pixels alone, at fidelity 1 and
    blind to the mean colour, whose casts drown everything else at first.
    """

    until: float
    side: int
    pictures: int
    parts: int
    plain: bool


#: Many small steps over many pictures first, then fewer large ones (as in Restormer, Zamir 2022).
PHASES = (Phase(0.4, 64, 8, 2, True), Phase(0.6, 128, 8, 1, False), Phase(2.0, 192, 4, 1, False))


class Damaged(IterableDataset):
    """Endless (damaged, clean) pairs, (3, S, S) uint8; mild until `mild_until` (monotonic, s)."""

    def __init__(self, faces: Portraits, seed: int, mild_until: float = 0.0):
        self.faces, self.seed, self.mild_until = faces, seed, mild_until
        weights = np.where(faces.real, REAL, 1.0)
        self.chances = weights / weights.sum()

    def __iter__(self):
        rng = np.random.default_rng([self.seed, int(time.time())])
        while True:
            clean = vary(self.faces.pictures[rng.choice(len(self.faces), p=self.chances)], rng)
            mixture = MILD if time.monotonic() < self.mild_until else MIXTURE
            damaged, _ = degrade(clean, rng, str(rng.choice(list(mixture), p=[*mixture.values()])))
            yield tuple(torch.from_numpy(p.transpose(2, 0, 1).copy()) for p in (damaged, clean))


def vary(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored, a little turned, scaled and shifted, in other light."""
    if rng.random() < 0.5:
        face = face[:, ::-1]
    if rng.random() < 0.7:
        matrix = cv2.getRotationMatrix2D(
            (SIZE / 2, SIZE / 2), rng.normal(0, 4), rng.uniform(0.96, 1.12)
        )
        matrix[:, 2] += rng.normal(0, 4, 2)
        face = cv2.warpAffine(
            face, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
    if rng.random() < 0.5:
        gains = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
        table = np.clip((np.arange(256)[:, None] / 255) ** rng.uniform(0.8, 1.25) * gains, 0, 1)
        face = cv2.LUT(np.ascontiguousarray(face), np.rint(table * 255).astype(np.uint8)[None])
    return np.ascontiguousarray(face)


def signed(pictures: Tensor) -> Tensor:
    """uint8 to [-1, 1], channels last in memory."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def draw(batches: Iterator, phase: Phase, whole: bool) -> tuple[Tensor, Tensor]:
    """The next damaged and clean pictures, or parts of them, (N, 3, S, S) in [-1, 1]."""
    pairs: list[list[Tensor]] = [[], []]
    for _ in range(1 if whole else phase.pictures // 4):
        pictures = next(batches)
        for _ in range(1 if whole else phase.parts):
            side = SIZE if whole else phase.side
            top, left = (int(edge) for edge in torch.randint(SIZE - side + 1, (2,)))
            for kept, picture in zip(pairs, pictures, strict=True):
                kept.append(picture[..., top : top + side, left : left + side])
    return signed(torch.cat(pairs[0])), signed(torch.cat(pairs[1]))


def recast(clean: Tensor, other: Tensor) -> Tensor:
    """`clean` with nine tenths of the difference in mean colour to `other` forgiven."""
    return clean + 0.9 * (other.detach() - clean).mean((2, 3), keepdim=True)


@torch.inference_mode()
def evaluate(network: Restorer, faces: Portraits, judge: Identity) -> dict[str, list[float]]:
    """PSNR and identity of the input, and of fidelity 1, 0.5 and 0, over fixed damages."""
    figures = {}
    for strength in ("light", "medium", "heavy"):
        rng = np.random.default_rng(7)
        pairs = [(degrade(face, rng, strength)[0], face) for face in faces.pictures]
        damaged, clean = (
            signed(torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2))
            for part in zip(*pairs, strict=True)
        )
        wanted = judge(clean)[0]
        row = []
        for output in (damaged, *(network(damaged, f).clamp(-1, 1) for f in (1.0, 0.5, 0.0))):
            error = (output - clean).square().mean((1, 2, 3)) / 4
            row.append(round(float((-10 * error.log10()).mean()), 2))
            row.append(round(float((judge(output)[0] * wanted).sum(1).mean()), 3))
        figures[strength] = row
    return figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--out", type=Path, default=Path("runs/restorer"))
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument(
        "--judged", type=int, default=1, help="faces of a batch judged for identity"
    )
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--spent", type=float, default=0.0, help="minutes of the schedule to skip")
    parser.add_argument("--texture", type=float, default=TEXTURE, help="weight at fidelity 0")
    parser.add_argument("--identity", type=float, default=IDENTITY, help="weight of identity")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    begin(options.seed, options.threads, options.out)
    network = Restorer().to(memory_format=torch.channels_last)
    average = Restorer().eval().requires_grad_(False)
    with torch.no_grad():
        for block in (part for part in network.modules() if hasattr(part, "film")):
            block.second.weight *= 0.3
        for last in (network.out, network.gate):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
    judge = Identity(options.data).to(memory_format=torch.channels_last)
    both = optimisers(network.named_parameters(), OUTER, 1e-2)
    step, spent = 0, options.spent * 60
    checkpoint = options.out / "last.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        for optimiser, state in zip(both, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    elif options.start:
        network.load_state_dict(torch.load(options.start, weights_only=True)["average"])
    average.load_state_dict(saved["average"] if checkpoint.exists() else network.state_dict())

    train = portraits(options.data, "train")
    large = portraits(options.data, "train", size=SIZE, kind="aligned512")
    faces = Portraits(
        np.concatenate([train.pictures, large.pictures]),
        train.people + large.people,
        np.concatenate([train.real, large.real]),
    )
    held = portraits(options.data, "val")
    keep = np.flatnonzero(held.real)[:24]
    held = Portraits(held.pictures[keep], tuple(held.people[i] for i in keep), held.real[keep])
    print(f"{len(faces)} faces, {faces.real.sum()} real", flush=True)

    total, begun, saved_at, judged_at = options.minutes * 60, time.monotonic(), spent, spent
    pairs = Damaged(faces, options.seed, begun - spent + PHASES[0].until * total)
    batches = iter(DataLoader(pairs, 4, num_workers=1, prefetch_factor=6))
    sums = torch.zeros(6)
    while (now := spent + time.monotonic() - begun) < total:
        phase = next(phase for phase in PHASES if now < phase.until * total)
        whole = step % WHOLE == 0 and phase is PHASES[-1]
        damaged, clean = draw(batches, phase, whole)
        # Half of the batch stands at the faithful end.
        fidelity = torch.rand(len(clean)).mul(2).clamp(max=1)
        if phase.plain:
            fidelity = torch.ones(len(clean))
        freedom = (1 - fidelity).square()
        output = network(damaged, fidelity)
        pixels = charbonnier(output, recast(clean, output) if phase.plain else clean)
        borders = edges(output, clean)
        grain = texture(output, clean)
        # Relative to the damage, or a few heavy ones and colour casts drown what all have to teach.
        with torch.no_grad():
            damage = charbonnier(damaged, recast(clean, damaged) if phase.plain else clean)
            damage = damage + EDGES * edges(damaged, clean) + GOOD
        left_over = (pixels + EDGES * borders) / damage
        loss = (left_over + options.texture * freedom * grain).mean()
        parts = [left_over, pixels, borders, grain]
        if whole:
            few = options.judged
            with torch.no_grad():
                wanted = judge(clean[:few], keep=3)
            distance, features = likeness(judge(output[:few], keep=3), wanted)
            loss = loss + (options.identity * distance + FEATURES * freedom[:few] * features).mean()
            parts += [WHOLE * distance, WHOLE * features]
        take_step(network, both, loss, rate(now / total, options.rate), 0.5)
        step += 1
        decay = min(0.997, (step + 1) / (step + 10))
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value.detach(), 1 - decay)
        for index, part in enumerate(parts):
            sums[index] += part.detach().mean()
        if step % 100 == 0:
            figures = " ".join(f"{value:.4f}" for value in (sums / 100).tolist())
            sums.zero_()
            print(f"{now / 60:.1f} min step {step}: {figures}", flush=True)
        if now - saved_at > 180:
            saved_at = now
            state = {"network": network.state_dict(), "average": average.state_dict()}
            state |= {"optimisers": [each.state_dict() for each in both]}
            state |= {"step": step, "spent": now}
            torch.save(state, checkpoint)
        if now - judged_at > 600:
            judged_at = now
            print(json.dumps(evaluate(average, held, judge)), flush=True)
    print(json.dumps(evaluate(average, held, judge)), flush=True)
    weights = {name: value.half().contiguous() for name, value in average.state_dict().items()}
    save_file(weights, options.out / "kintsugi-restorer.safetensors")
    torch.save({"average": average.state_dict()}, options.out / "final.pt")
    print(f"{step} steps; weights in {options.out}", flush=True)


if __name__ == "__main__":
    main()
