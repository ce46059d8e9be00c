"""Measures the built-in restorer on new people: `python -m kintsugi.benchmarks.restoration`.

Every validation face is damaged at three strengths by the degradation model it was trained with
(fixed seeds) and restored by it and by the methods of classical.py. The table goes to
`benchmarks/results/restoration.md`; `--sheets FOLDER` draws contact sheets, which stay outside the
repository because the pictures may not be passed on.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from ..models.loader import build
from ..training.data import portraits
from ..training.degradations import STRENGTHS, degrade
from ..training.teachers import Identity
from .classical import GRIDS, METHODS

Pictures = NDArray[np.uint8]  # (N, S, S, 3) RGB

#: PSNR in dB over red, green and blue; SSIM; cosine of the embeddings; sharpness, see `sharpness`.
FIGURES = ("PSNR", "SSIM", "identity", "sharpness")

#: The figures a method is compared by; sharpness alone is no merit, noise has it too.
BARS = FIGURES[:3]

FIDELITIES = (1.0, 0.5, 0.0)

#: One picture in so many tunes the classical methods.
TUNING_SHARE = 4

HEAD = """# Restoration

Validation people of the data folder, aligned 256 px faces, damaged at three strengths by
`training/degradations.py` (mixed damages, fixed seeds). PSNR in dB over RGB, SSIM (Gaussian window
of 1.5 px, mean of the channels), identity as the cosine between MobileFaceNet embeddings of the
result and of the clean face, sharpness as the mean gradient over that of the clean face. Mean over
pictures. Real photographs and generated faces apart.

Classical methods: the best setting of a small grid (`benchmarks/classical.py`), chosen for every
strength and for every figure apart on each fourth picture; so no single picture looks as good as
such a row says. Written by `python -m kintsugi.benchmarks.restoration"""


@dataclass(frozen=True)
class Judge:
    """Compares pictures with the clean ones."""

    clean: Pictures
    network: Identity

    def embeddings(self, pictures: Pictures) -> NDArray[np.float32]:
        """(N, 128) unit vectors."""
        with torch.inference_mode():
            parts = [self.network(part)[0] for part in to_network(pictures).split(16)]
        return torch.cat(parts).numpy()

    def __call__(self, pictures: Pictures, wanted: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, len(FIGURES)), `wanted` being the embeddings of the clean pictures."""
        likeness = (self.embeddings(pictures) * wanted).sum(1)
        rows = [
            (psnr(one, other), ssim(one, other), 0.0, sharpness(one, other))
            for one, other in zip(pictures, self.clean, strict=True)
        ]
        figures = np.array(rows, np.float64)
        figures[:, 2] = likeness
        return figures


def psnr(picture: Pictures, clean: Pictures) -> float:
    """dB; 60 for equal pictures, so that a mean exists."""
    error = np.square(picture.astype(np.float32) - clean).mean()
    return float(min(60.0, 10 * np.log10(255**2 / max(error, 1e-9))))


def ssim(picture: Pictures, clean: Pictures) -> float:
    """Structural similarity (Wang et al., 2004), 11 px Gaussian window, mean of the channels."""
    a, b = picture.astype(np.float32), clean.astype(np.float32)

    def blur(values: NDArray) -> NDArray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    squares = blur(a * a) + blur(b * b) - mean_a**2 - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (squares + c2))).mean())


def sharpness(picture: Pictures, clean: Pictures) -> float:
    """Mean gradient of the brightness over that of the clean picture."""

    def gradient(values: Pictures) -> float:
        grey = values.mean(2, dtype=np.float32)
        return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())

    return gradient(picture) / max(gradient(clean), 1e-6)


def to_network(pictures: Pictures) -> torch.Tensor:
    """(N, 3, S, S) float in [-1, 1], channels last in memory."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return values.contiguous(memory_format=torch.channels_last)


def restored(network: nn.Module, pictures: Pictures, fidelity: float) -> Pictures:
    """The network's results as bytes."""
    with torch.inference_mode():
        parts = [network(part, fidelity=fidelity) for part in to_network(pictures).split(8)]
    values = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte()
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).numpy())


def tuned(name: str, damaged: Pictures, judge: Judge, wanted: NDArray) -> list[tuple[float, ...]]:
    """The settings of method `name` that are best by each of BARS, on a share of the pictures."""
    few = slice(None, None, TUNING_SHARE)
    part = Judge(judge.clean[few], judge.network)
    means = [
        part(np.stack([METHODS[name](p, *setting) for p in damaged[few]]), wanted[few]).mean(0)
        for setting in GRIDS[name]
    ]
    return [GRIDS[name][int(best)] for best in np.argmax(means, 0)[: len(BARS)]]


def classical(damaged: Pictures, judge: Judge, wanted: NDArray) -> dict[str, NDArray]:
    """Figures (N, 4) of the damaged pictures and of every classical method at its best."""
    rows = {"damaged": judge(damaged, wanted)}
    for name, method in METHODS.items():
        best = tuned(name, damaged, judge, wanted)
        by_setting = {
            setting: judge(np.stack([method(p, *setting) for p in damaged]), wanted)
            for setting in set(best)
        }
        columns = [by_setting[setting][:, index] for index, setting in enumerate(best)]
        rows[name] = np.stack([*columns, by_setting[best[0]][:, 3]], 1)
    return rows


def margins(rows: dict[str, NDArray], chosen: NDArray[np.bool_], ours: str) -> list[float]:
    """By how much `ours` is better than the best other row, for each of BARS."""
    others = [v[chosen].mean(0) for k, v in rows.items() if not k.startswith("ours")]
    return list((rows[ours][chosen].mean(0) - np.max(others, 0))[: len(BARS)])


def table(rows: dict[str, NDArray], groups: dict[str, NDArray[np.bool_]]) -> str:
    """Markdown: a row a method and group."""
    lines = [f"| pictures | method | {' | '.join(FIGURES)} |", "|---|---|" + "---|" * len(FIGURES)]
    for group, chosen in groups.items():
        for name, figures in rows.items():
            mean = figures[chosen].mean(0)
            cells = f"{mean[0]:.2f} | {mean[1]:.3f} | {mean[2]:.3f} | {mean[3]:.2f}"
            lines.append(f"| {group} ({chosen.sum()}) | {name} | {cells} |")
    return "\n".join(lines)


def verdict(rows: dict[str, NDArray], groups: dict[str, NDArray[np.bool_]]) -> str:
    """Margins of ours over the best of the input and the classical methods, in words."""
    parts = []
    for fidelity in FIDELITIES[:2]:
        for group, chosen in groups.items():
            psnr_, ssim_, identity = margins(rows, chosen, f"ours, fidelity {fidelity:g}")
            parts.append(
                f"{group}, fidelity {fidelity:g}: {psnr_:+.2f} dB, {ssim_:+.3f}, {identity:+.3f}"
            )
    return "Over the best of the rows above ours: " + "; ".join(parts) + "."


def faces_a_second(network: nn.Module, batch: int, seconds: float = 4.0) -> float:
    """Throughput of the network alone at its own crop size, after a warm-up."""
    crops = torch.rand(batch, 3, 256, 256) * 2 - 1
    crops = crops.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(crops)
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            network(crops)
            done += batch
    return done / (time.perf_counter() - begun)


def sheet(path: Path, columns: list[Pictures], rows: slice) -> None:
    """A contact sheet: a row a face, a column a method."""
    grid = np.vstack([np.hstack(row) for row in zip(*(c[rows] for c in columns), strict=True)])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), grid[..., ::-1])


def main() -> None:
    """Command line."""
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    weights = root / "models/weights/kintsugi-restorer.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/restoration.md")
    parser.add_argument("--sheets", type=Path, help="draw contact sheets into this folder")
    parser.add_argument("--kept", type=Path, help="keep the classical figures in this folder")
    parser.add_argument("--part", type=int, default=1, help="use every n-th picture only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    network = build(load_file(options.weights)).to(memory_format=torch.channels_last)
    faces = portraits(options.data, "val", licence=None)
    clean, real = faces.pictures[:: options.part], faces.real[:: options.part]
    groups = {"real": real, "generated": ~real}
    judge = Judge(clean, Identity(options.data))
    wanted = judge.embeddings(clean)
    spared = judge(restored(network, clean, 0.5), wanted).mean(0)
    speeds = [faces_a_second(network, batch) for batch in (1, 8)]
    text = [
        HEAD + f" --part {options.part}`.\n",
        f"{options.threads} thread(s), network alone: {speeds[0]:.1f} faces a second one by one, "
        f"{speeds[1]:.1f} in batches of eight. Clean faces at fidelity 0.5 are kept: "
        f"{spared[0]:.1f} dB, SSIM {spared[1]:.3f}, identity {spared[2]:.3f}.\n",
    ]
    for index, strength in enumerate(STRENGTHS):
        damaged = np.stack(
            [
                degrade(face, np.random.default_rng([options.seed, index, number]), strength)[0]
                for number, face in enumerate(clean)
            ]
        )
        kept = options.kept and options.kept / f"{strength}-{options.seed}-{options.part}.npz"
        if kept and kept.exists():
            rows = dict(np.load(kept))
        else:
            rows = classical(damaged, judge, wanted)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, **rows)
        results = [restored(network, damaged, fidelity) for fidelity in FIDELITIES]
        for fidelity, result in zip(FIDELITIES, results, strict=True):
            rows[f"ours, fidelity {fidelity:g}"] = judge(result, wanted)
        text += [f"## {strength}\n", table(rows, groups) + "\n", verdict(rows, groups) + "\n"]
        print("\n".join(text[-2:]), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(text))
        if options.sheets:
            for group, chosen in groups.items():
                columns = [part[chosen] for part in (damaged, *results, clean)]
                sheet(
                    options.sheets / f"{strength}-{group}.png",
                    columns,
                    slice(0, None, max(1, int(chosen.sum()) // 8)),
                )
    if options.sheets:
        old = portraits(options.data, "old", licence=None).pictures
        results = [restored(network, old, fidelity) for fidelity in FIDELITIES]
        sheet(options.sheets / "old.png", [old, *results], slice(0, None, max(1, len(old) // 8)))


if __name__ == "__main__":
    main()
