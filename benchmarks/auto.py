"""Measures whether choosing by damage pays: `python -m kintsugi.benchmarks.auto`.

Faces of new people, as they are and damaged at three strengths by `training/degradations.py`, are
left as they are, restored by every single choice that needs no download, and restored by "auto".
The table goes to `benchmarks/results/auto.md`. `--tune` looks at training people instead, those on
whom the estimator was calibrated and not trained, and prints what each limit of damage below
which a face is left alone would give; the limit in `stages/strategy.py` comes from there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..models import zoo
from ..stages import strategy
from ..stages.host import Host
from ..stages.restore import restore
from ..training.data import portraits
from ..training.degradation_data import kept_out
from ..training.degradations import STRENGTHS, degrade
from ..training.teachers import Identity
from .restoration import Judge, Pictures

LEVELS = ("clean", *STRENGTHS)

#: Everything a user without a download could choose for all faces alike.
SINGLE = {
    f"always, fidelity {fidelity:g}": {"model": "kintsugi-restorer", "fidelity": fidelity}
    for fidelity in (1.0, 0.5, 0.0)
}

#: Limits that --tune tries.
LIMITS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)

#: Faces that are damaged, restored and judged at once; the table is written after each lot.
LOT = 8

#: PSNR, identity and the share returned bit for bit.
FIGURES = 3

HEAD = """# Choosing by damage

Validation people of the data folder, aligned 256 px faces, as they are ("clean") and damaged at
three strengths by `training/degradations.py` (mixed damages, fixed seeds), with no model on disk
but the built-in ones. PSNR in dB over RGB, 60 for equal pictures; identity as the cosine between
MobileFaceNet embeddings of the result and of the clean face; "untouched" is the share of faces that
came back bit for bit. "auto" looks at each face and follows the table in `stages/strategy.py`; what
it calls fine was set on training people (`--tune`). Written by
`python -m kintsugi.benchmarks.auto"""


@dataclass(frozen=True)
class Level:
    """Figures of one level of damage: by choice, (N, FIGURES); damage (N,) as auto saw it; and how
    many faces auto gave to which model."""

    figures: dict[str, NDArray[np.float64]]
    damage: NDArray[np.float64]
    models: Counter

    def __add__(self, other: Level) -> Level:
        """Both parts' faces."""
        figures = {
            name: np.concatenate([rows, other.figures[name]]) for name, rows in self.figures.items()
        }
        damage = np.concatenate([self.damage, other.damage])
        return Level(figures, damage, self.models + other.models)


def offline() -> Host:
    """A host that finds no file but the built-in ones."""
    return Host(library=zoo.Library({}))


def as_crops(pictures: Pictures) -> torch.Tensor:
    """(N, S, S, 3) in [0, 1]."""
    return torch.from_numpy(pictures).float() / 255


def as_pictures(crops: torch.Tensor) -> Pictures:
    """Bytes, rounded."""
    return crops.mul(255).round().clamp(0, 255).byte().numpy()


def measure(
    clean: Pictures, numbers: NDArray, level: int, seed: int, identity: Identity, host: Host
) -> Level:
    """Damage the clean pictures at LEVELS[level], by their numbers, and judge every choice."""
    damaged = np.stack(
        [
            degrade(face, np.random.default_rng([seed, level, number]), LEVELS[level])[0]
            for number, face in zip(numbers, clean, strict=True)
        ]
    )
    judge, crops = Judge(clean, identity), as_crops(damaged)
    wanted = judge.embeddings(clean)
    figures = {"never": _judged(judge, wanted, damaged, damaged)}
    for name, settings in SINGLE.items():
        result = as_pictures(restore(crops, host=host, **settings).crops)
        figures[name] = _judged(judge, wanted, damaged, result)
    auto = restore(crops, model="auto", host=host)
    same = (auto.crops == crops).flatten(1).all(1).numpy()
    figures["auto"] = _judged(judge, wanted, damaged, as_pictures(auto.crops))
    figures["auto"][:, 2] = same
    damage = [strategy.figure(one, "damage", crops.shape[1]) for one in auto.degradations]
    return Level(figures, np.array(damage), Counter(auto.models))


def _judged(
    judge: Judge, wanted: NDArray, damaged: Pictures, result: Pictures
) -> NDArray[np.float64]:
    figures = judge(result, wanted)[:, [0, 2]]
    same = (result == damaged).reshape(len(result), -1).all(1)
    return np.concatenate([figures, same[:, None]], 1)


def untouched(clean: Pictures, host: Host) -> NDArray[np.bool_]:
    """(N,) whether auto gives each undamaged face back bit for bit."""
    same = []
    for start in range(0, len(clean), 3 * LOT):
        crops = as_crops(clean[start : start + 3 * LOT])
        same.append((restore(crops, host=host).crops == crops).flatten(1).all(1).numpy())
    return np.concatenate(same)


def table(levels: dict[str, Level]) -> str:
    """Markdown: a row a choice, for every level and over all."""
    names = list(next(iter(levels.values())).figures)
    lines = ["| faces | choice | PSNR | identity | untouched |", "|---|---|---|---|---|"]
    for level in (*levels, "all"):
        for name in names:
            rows = all_of(levels, name) if level == "all" else levels[level].figures[name]
            psnr, identity, same = rows.mean(0)
            lines.append(
                f"| {level} ({len(rows)}) | {name} | {psnr:.2f} | {identity:.4f} | {same:.1%} |"
            )
    return "\n".join(lines)


def all_of(levels: dict[str, Level], name: str) -> NDArray[np.float64]:
    """The figures of one choice over all levels, each level counting alike."""
    return np.concatenate([level.figures[name] for level in levels.values()])


def verdict(levels: dict[str, Level]) -> str:
    """Auto over each other choice, with the standard error of the difference."""
    auto, lines = all_of(levels, "auto"), []
    for name in ("never", *SINGLE):
        gain = auto - all_of(levels, name)
        error = gain.std(0, ddof=1) / len(gain) ** 0.5
        met = "better" if gain[:, 0].mean() > 0 and gain[:, 1].mean() > 0 else "not better in both"
        lines.append(
            f"- auto over {name}: {gain[:, 0].mean():+.3f} dB (± {error[0]:.3f}), identity "
            f"{gain[:, 1].mean():+.5f} (± {error[1]:.5f}): {met}"
        )
    return "\n".join(lines)


def chosen(levels: dict[str, Level]) -> str:
    """Who got the faces of each level."""
    lines = [
        f"- {name}: "
        + ", ".join(f"{model or 'left alone'} {n}" for model, n in level.models.most_common())
        + f"; damage {np.quantile(level.damage, 0.1):.2f} to {np.quantile(level.damage, 0.9):.2f} "
        "(tenth to ninetieth in a hundred)"
        for name, level in levels.items()
    ]
    return "\n".join(lines)


def limits(levels: dict[str, Level]) -> str:
    """What each limit of damage would give if fidelity were that of each single choice."""
    damage = np.concatenate([level.damage for level in levels.values()])
    never = all_of(levels, "never")
    lines = ["limit   choice   PSNR  identity  clean untouched"]
    for name in SINGLE:
        rows = all_of(levels, name)
        for limit in LIMITS:
            left = damage < limit
            psnr, identity, _ = np.where(left[:, None], never, rows).mean(0)
            clean = (levels["clean"].damage < limit).mean()
            lines.append(f"{limit:5.3f}  {name}  {psnr:.3f}  {identity:.5f}  {clean:.1%}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/auto.md")
    parser.add_argument("--part", type=int, default=1, help="use every n-th picture only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--tune", action="store_true", help="look at training people, write nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    if options.tune:
        faces = portraits(options.data, "train")
        clean = faces.pictures[[kept_out(person) for person in faces.people]]
    else:
        faces = portraits(options.data, "val", licence=None)
        clean = faces.pictures
    numbers = np.random.default_rng(options.seed).permutation(len(clean))[:: options.part]
    identity, host = Identity(options.data), offline()
    levels: dict[str, Level] = {}
    if not options.tune:
        same = untouched(clean, host)
        spared = (
            f"Of all {len(same)} clean faces {same.mean():.1%} come back bit for bit (bar 95 %): "
            f"{same[faces.real].mean():.1%} of the photographs of real people, "
            f"{same[~faces.real].mean():.1%} of the generated faces."
        )
    for start in range(0, len(numbers), LOT):
        lot = numbers[start : start + LOT]
        for index, name in enumerate(LEVELS):
            part = measure(clean[lot], lot, index, options.seed, identity, host)
            levels[name] = levels[name] + part if name in levels else part
        if options.tune:
            print(f"{limits(levels)}\n\n{table(levels)}\n\n{chosen(levels)}", flush=True)
            continue
        done = f"{start + len(lot)} of {len(numbers)} faces, in random order, at each level."
        text = [
            f"{HEAD} --part {options.part}`.\n",
            f"{spared}\n",
            f"Below, {done}\n",
            verdict(levels) + "\n",
            table(levels) + "\n",
            "Who got the faces:\n",
            chosen(levels) + "\n",
        ]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(text), encoding="utf-8")
        print("\n".join(text), flush=True)


if __name__ == "__main__":
    main()
