"""Trains kintsugi-detector on composites of faces: `python -m kintsugi.training.detector`.

The schedule runs by elapsed time, so that a run always ends annealed; a run that was cut off goes
on from its last checkpoint. What is saved is the moving average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.batch_norm import fold_batch_norms
from ..models.detector import STRIDES, Conv, Detector, cell_centres, decode
from .composites import Canvas, Labels, read_negatives, read_photos

#: Sides of the faces, sqrt(width * height) in pixels, that each stride is taught. They overlap:
#: a face near a limit is found by both neighbours, and the better one wins.
RANGES = {4: (7.0, 26.0), 8: (18.0, 58.0), 16: (40.0, 180.0)}

#: Beyond its range by up to this factor a stride may do as it likes; beyond that it must be silent.
MARGIN = 1.5

#: Cells nearer to the middle of a face than this share of its side (or of the stride) answer for it
#: ...
NEAR, NEAR_CELLS = 0.18, 0.75

#: ... and those up to here may do as they like.
AROUND, AROUND_CELLS = 0.36, 1.6

BOX_WEIGHT, POINT_WEIGHT = 2.0, 8.0


def cells(size: int) -> tuple[Tensor, Tensor]:
    """Centres (n, 2) and strides (n,) of all output cells of a `size` x `size` canvas."""
    grids = [cell_centres(size // s, size // s, s) for s in STRIDES]
    steps = [torch.full((len(g),), float(s)) for g, s in zip(grids, STRIDES, strict=True)]
    return torch.cat(grids), torch.cat(steps)


def assign(labels: Labels, centres: Tensor, strides: Tensor) -> Tensor:
    """Which face each cell answers for.

    Returns:
        (n,) index of the face, -1 for no face, -2 for cells that are not judged.
    """
    taken = torch.full((len(centres),), -1, dtype=torch.long)
    if not len(labels.boxes):
        return taken
    boxes = torch.from_numpy(labels.boxes)
    middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    side = extent.prod(dim=1).sqrt()[:, None]  # (faces, 1)
    away = (centres - middle[:, None]).abs().amax(dim=-1)  # (faces, n)
    low = torch.zeros(len(strides))
    high = torch.zeros(len(strides))
    for stride, (least, most) in RANGES.items():
        low[strides == stride], high[strides == stride] = least, most
    inside = (side >= low) & (side <= high)
    nearly = (side >= low / MARGIN) & (side <= high * MARGIN)
    near = away < torch.maximum(NEAR * side, NEAR_CELLS * strides)
    around = away < torch.maximum(AROUND * side, AROUND_CELLS * strides)
    taken[(nearly & around).any(dim=0)] = -2
    ignored = torch.from_numpy(labels.ignored)[:, None]
    own = near & inside & ~ignored
    distance = torch.where(own, away / side, torch.inf)
    best, index = distance.min(dim=0)
    claimed = torch.isfinite(best) & ~(near & inside & ignored).any(dim=0)
    taken[claimed] = index[claimed]
    return taken


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al., 2017), gamma 2, not yet reduced."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss * (torch.sigmoid(logits) - target).square()


def distance_iou(a: Tensor, b: Tensor) -> Tensor:
    """Distance-IoU (Zheng et al., 2020) of boxes (n, 4) pair by pair."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    inter = overlap.prod(dim=1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    penalty = apart.square().sum(dim=1) / hull.square().sum(dim=1).clamp(min=1e-6)
    return inter / (areas - inter).clamp(min=1e-6) - penalty


def losses(outputs, labels: list[Labels], centres: Tensor, strides: Tensor) -> dict[str, Tensor]:
    """The three losses of a batch, each over the number of cells that answer for a face."""
    decoded = [decode(raw, stride) for raw, stride in zip(outputs, STRIDES, strict=True)]
    logits, boxes, points = (torch.cat(parts, dim=1) for parts in zip(*decoded, strict=True))
    taken = torch.stack([assign(each, centres, strides) for each in labels])
    positive = taken >= 0
    count = positive.sum().clamp(min=1)
    judged = taken != -2
    score = focal(logits[judged], positive[judged].float()).sum() / count
    if not positive.any():
        return {"score": score, "box": boxes.sum() * 0, "points": points.sum() * 0}
    want_boxes, want_points = [], []
    for each, row in zip(labels, taken, strict=True):
        index = row[row >= 0].numpy()
        want_boxes.append(torch.from_numpy(each.boxes[index]))
        want_points.append(torch.from_numpy(each.points[index]))
    want_box, want_point = torch.cat(want_boxes), torch.cat(want_points)
    box = (1 - distance_iou(boxes[positive], want_box)).mean()
    side = (want_box[:, 2:] - want_box[:, :2]).prod(dim=1).sqrt()[:, None, None]
    apart = (points[positive] - want_point) / side
    point = F.smooth_l1_loss(apart, torch.zeros_like(apart), beta=0.01)
    return {"score": score, "box": BOX_WEIGHT * box, "points": POINT_WEIGHT * point}


def initialise(network: Detector) -> None:
    """He's initialisation; blocks start as the identity and every cell as "probably no face".

    Each 3x3 convolution gets a batch norm for the length of the training; see `folded`.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Conv):
            module.norm = nn.BatchNorm2d(module.out_channels)
            module.register_forward_hook(_normalise)
            if name.endswith("second"):
                nn.init.zeros_(module.norm.weight)
    for head in (network.head4, network.head8, network.head16):
        nn.init.normal_(head.read.weight, std=0.01)
        with torch.no_grad():
            head.read.bias[0] = -4.6


def _normalise(convolution: nn.Module, _, output: Tensor) -> Tensor:
    return convolution.norm(output)


def folded(network: Detector) -> dict[str, Tensor]:
    """The weights of `models.detector.Detector`: batch norms multiplied into the convolutions."""
    state = fold_batch_norms(
        network.state_dict(), lambda norm: norm.removesuffix(".norm"), biased=lambda _: True
    )
    return {name: value.contiguous() for name, value in state.items()}


def _untrained(network: Detector) -> dict[str, Tensor]:
    """The refiner's weights: `training.points` trains them afterwards."""
    return {k: v for k, v in network.state_dict().items() if k.startswith("refine.")}


def schedule(share: float, peak: float) -> float:
    """Learning rate after `share` of the time: a short rise, then a cosine down to 1 %."""
    rise = 0.02
    if share < rise:
        return peak * max(share / rise, 0.02)
    return peak * (
        0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min((share - rise) / (1 - rise), 1)))
    )


def batch(canvas: Canvas, count: int) -> tuple[Tensor, list[Labels]]:
    """`count` canvases (count, 3, size, size) in [0, 1] and their labels."""
    pictures, labels = zip(*(canvas.make() for _ in range(count)), strict=True)
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # channels last in memory
    return stack.float() / 255, list(labels)


def train(options: argparse.Namespace) -> None:
    """The run that `options` describe; see `main`."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    network = Detector()
    initialise(network)
    network = network.to(memory_format=torch.channels_last)
    if options.start:
        state = torch.load(options.start, weights_only=True)["average"]
        network.load_state_dict(state | _untrained(network))
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-4)
    step, spent = 0, 0.0
    checkpoint = options.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]

    photos = read_photos(options.data, ("train/loose", "train/aligned"), "train")
    canvas = Canvas(photos, read_negatives(options.data), options.size, options.seed + step)
    centres, strides = cells(options.size)
    begun, saved, told, sums = time.monotonic() - spent, spent, spent, {}
    total = options.minutes * 60

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "spent": spent,
        }
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)

    while spent < total:
        for group in optimiser.param_groups:
            group["lr"] = schedule(spent / total, options.rate)
        pictures, labels = batch(canvas, options.batch)
        parts = losses(network(pictures), labels, centres, strides)
        optimiser.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        decay = min(options.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(
                average.state_dict().values(), network.state_dict().values(), strict=True
            ):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - decay)
        for name, value in parts.items():
            sums.setdefault(name, []).append(float(value.detach()))
        spent = time.monotonic() - begun
        if spent - told > 30:
            means = "  ".join(f"{name} {np.mean(values):.4f}" for name, values in sums.items())
            print(f"{spent / 60:6.1f} min  step {step}  {means}", flush=True)  # noqa: T201
            told, sums = spent, {}
        if spent - saved > 180:
            save()
            saved = spent
    save()
    save_file(folded(average), options.work / "kintsugi-detector.safetensors")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoint and result")
    parser.add_argument("--start", type=Path, help="a checkpoint whose average to start from")
    parser.add_argument("--minutes", type=float, default=55.0, help="length of the run")
    parser.add_argument("--size", type=int, default=256, help="side of a canvas in pixels")
    parser.add_argument("--batch", type=int, default=8, help="canvases a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--decay", type=float, default=0.998, help="of the moving average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
