"""Trains the last step of kintsugi-detector, the refiner: `python -m kintsugi.training.points`.

It learns from single faces, turned upright and brought to one size as roughly as the detector does
it, where the five points are, and from the detector's own false alarms what is no face. The rest of
the network stays as it is.
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
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ..models.detector import LOOK_FACE, LOOK_SIZE, MEAN_POINTS, Detector
from ..stages.face_search import REFINER
from .composites import (
    MIRROR,
    Photo,
    often,
    photometric,
    pick,
    read_negatives,
    read_photos,
    similarity,
    warp,
)
from .detector import folded, initialise, schedule
from .false_alarms import false_alarms

#: How far the detector's box and angle may be off: shift as a share of the side, logarithm of the
#: scale, angle in radians; standard deviations.
SHIFT, SCALE, ANGLE = 0.06, 0.10, 0.17

#: One crop in so many is off by this many times as much.
RARE, WORSE = 6, 2.5

#: Least side of the faces, and of the false alarms, to learn from, px.
FACE, ALARM = 20.0, 8.0

#: False alarms for each face of a batch, composites to look for them in, weight of telling them.
ALARMS, CANVASES, TELL = 0.75, 800, 0.5


def upright_angle(points: np.ndarray) -> float:
    """Angle in radians by which a face's points (5, 2) are turned against the average face."""
    source = np.array(MEAN_POINTS) - np.mean(MEAN_POINTS, axis=0)
    target = points - points.mean(axis=0)
    across = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()
    return float(np.arctan2(across, (source * target).sum()))


class Crops:
    """Crops of single faces, made one after the other from a seeded generator.

    Args:
        photos: whose faces to cut out; false alarms as often as the square of their score says.
        least: side of the smallest of them, px.
    """

    def __init__(self, photos: list[Photo], seed: int, least: float):
        self.rng = np.random.default_rng(seed)
        self.faces, weights = [], []
        for photo in photos:
            scores = np.ones(len(photo.boxes)) if photo.scores is None else photo.scores
            clear = ~photo.uncertain & (
                np.sqrt((photo.boxes[:, 2:] - photo.boxes[:, :2]).prod(1)) >= least
            )
            for index in np.flatnonzero(clear):
                self.faces.append((photo, photo.boxes[index], photo.points[index]))
                weights.append(often(photo) * scores[index] ** 2)
        self.shares = np.cumsum(weights)

    def make(self) -> tuple[np.ndarray, np.ndarray]:
        """One crop (LOOK_SIZE, LOOK_SIZE, 3) uint8 and its points (5, 2) in pixels of the crop."""
        rng = self.rng
        photo, box, points = self.faces[pick(self.shares, rng)]
        off = WORSE if rng.integers(RARE) == 0 else 1.0
        side = np.sqrt((box[2:] - box[:2]).prod())
        scale = LOOK_FACE / side * np.exp(rng.normal(0, SCALE * off))
        middle = (box[:2] + box[2:]) / 2 + rng.normal(0, SHIFT * off, 2) * side
        flip = rng.random() < 0.5
        own = upright_angle(points)
        angle = rng.normal(0, ANGLE * off) + (own if flip else -own)
        target = np.full(2, (LOOK_SIZE - 1) / 2)
        matrix = similarity(middle, target, scale, angle, flip)
        crop = warp(photo, matrix, (0, 0, LOOK_SIZE, LOOK_SIZE), cv2.BORDER_CONSTANT)
        inside = points @ matrix[:, :2].T + matrix[:, 2]
        if rng.random() < 0.15:
            self._occlude(crop)
        if rng.random() < 0.4:
            small = int(rng.uniform(14, 48))
            crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
            crop = cv2.resize(crop, (LOOK_SIZE, LOOK_SIZE), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.7:
            crop = photometric(crop, rng)
        return crop, inside[MIRROR] if flip else inside

    def _occlude(self, crop: np.ndarray) -> None:
        w, h = self.rng.integers(6, 28, 2)
        x, y = self.rng.integers(0, LOOK_SIZE - w), self.rng.integers(0, LOOK_SIZE - h)
        crop[y : y + h, x : x + w] = self.rng.integers(0, 256, 3)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` crops (count, 3, LOOK_SIZE, LOOK_SIZE) in [0, 1] and points (count, 5, 2)."""
        crops, points = zip(*(self.make() for _ in range(count)), strict=True)
        stack = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        return stack, torch.from_numpy(np.stack(points)).float()


def train(options: argparse.Namespace) -> None:
    """The run that `options` describe; see `main`."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    folders = ("train/loose", "train/aligned", "hires512/train")
    photos = read_photos(options.data, folders, "train")
    negatives = read_negatives(options.data, options.others)
    looked = np.random.default_rng(options.seed).permutation(len(photos))[: options.looked]
    alarms = false_alarms(
        options.weights, [photos[i] for i in looked], negatives, CANVASES, options.seed
    )
    faces, decoys = Crops(photos, options.seed, FACE), Crops(alarms, options.seed + 1, ALARM)
    print(f"{len(faces.faces)} faces, {len(decoys.faces)} false alarms", flush=True)
    network = Detector()
    if options.more:  # batch norms are folded by now, and stay so
        network.load_state_dict(load_file(options.weights))
    else:
        initialise(network)
        torch.nn.init.zeros_(network.refine.read.weight)
    refine = network.refine.to(memory_format=torch.channels_last)
    average = copy.deepcopy(refine).requires_grad_(False)
    optimiser = torch.optim.AdamW(refine.parameters(), lr=options.rate, weight_decay=1e-4)
    begun, total, told, step, seen = time.monotonic(), options.minutes * 60, 0.0, 0, []
    while (spent := time.monotonic() - begun) < total:
        for group in optimiser.param_groups:
            group["lr"] = schedule(spent / total, options.rate)
        pictures, points = faces.batch(options.batch)
        others, _ = decoys.batch(round(ALARMS * options.batch))
        said, logits = refine(torch.cat([pictures, others]))
        true = torch.zeros_like(logits)
        true[: options.batch] = 1.0
        error = (said[: options.batch] - points) / LOOK_FACE
        loss = 10 * F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.01)
        telling = F.binary_cross_entropy_with_logits(logits, true)
        loss = loss + TELL * telling
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(
                average.state_dict().values(), refine.state_dict().values(), strict=True
            ):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - decay)
            eyes = (points[:, 0] - points[:, 1]).norm(dim=1)
            away = (error * LOOK_FACE).norm(dim=2).mean(dim=1)
            seen.append((float((away / eyes).median()), float(telling)))
        if spent - told > 20:
            told = spent
            off, told_apart = np.mean(seen, axis=0)
            print(
                f"{spent / 60:5.1f} min  step {step}  off by {off:.4f} eye distances, "
                f"cross entropy {told_apart:.4f}",
                flush=True,
            )
            seen = []
    network.refine = average
    state = load_file(options.weights)
    state |= {k: v for k, v in folded(network).items() if k.startswith("refine.")}
    save_file(calibrated(state, options.threshold), options.out)


def calibrated(state: dict[str, Tensor], threshold: float) -> dict[str, Tensor]:
    """The same detector with its scores moved, so that what was `threshold` becomes 0.5."""
    moved = math.log(threshold / (1 - threshold)) / REFINER
    return state | {"refine.bias": state["refine.bias"] - moved}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    parser.add_argument("--weights", type=Path, required=True, help="what training.detector saved")
    parser.add_argument("--out", type=Path, required=True, help="the same with this last step")
    parser.add_argument("--others", type=Path, help="a folder of more pictures without a face")
    parser.add_argument("--looked", type=int, help="photographs to look for false alarms in")
    parser.add_argument("--more", action="store_true", help="go on from the last step in --weights")
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="the score that is to become 0.5"
    )
    parser.add_argument("--minutes", type=float, default=14.0, help="length of the run")
    parser.add_argument("--batch", type=int, default=64, help="crops a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
