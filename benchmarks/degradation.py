"""Measures kintsugi-degradation on new people: `python -m kintsugi.benchmarks.degradation`.

Clean, singly and mixedly damaged faces of the validation people (training/mixture.py, fixed seeds;
half of the strengths from ranges that training left out) go through the public `estimate`. The
classical methods of estimators.py, fitted on training people, stand in the same table. Writes
`benchmarks/results/degradation.md` and the reliability plot beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..stages.degradation_estimate import KINDS, UNITS, estimate
from ..stages.host import Host
from ..training.degradation_data import Faces
from ..training.mixture import SORTS, choose, damage
from .degradation_figures import (
    LEAST_MOTION,
    RELATIVE,
    Case,
    angles,
    calibration,
    fit,
    flagged,
    grain_text,
    judge,
    our_mask,
    overlap,
)
from .estimators import ESTIMATORS, NAMES, outliers

RESULTS = Path(__file__).parent / "results"

#: What was asked for: of the mean error of a kind, in the table's unit.
BARS = {"noise": 2.0, "jpeg": 8.0, "blur": 0.4, "resolution": 0.15, "motion": 0.2}

HEAD = """# Degradation

Validation people of the data folder (licence class A), {clean} clean faces, {single} with one
damage and {mixed} with two or more at once ({side} px crops), damaged by `training/mixture.py`;
half of the strengths lie in ranges that training left out (`GAP`). What a later damage hides beyond
measuring (`present` is NaN there) is not counted, and what is missing is what is covered by at
least 30 % in the end, half transparent scratches too. Errors are over the faces that have the
damage, told or not. Classical methods (`benchmarks/estimators.py`) are fitted by a cubic to
training people. AUC: area under the ROC curve of one kind against all faces without it, ECE:
expected calibration error in ten bins. Written by `python -m kintsugi.benchmarks.degradation`.
"""


AGAIN = """## The same at {side} px

{clean} clean faces, {single} with one damage, {mixed} with more; lengths are in pixels of these
crops. The classical methods keep their curves of 256 px.
"""


BEYOND = """## Worse than the ranges of the tables

{count} faces of 256 px with one damage each, stronger than any in the tables (`BEYOND` of
`training/mixture.py`): how many are found, and medians of what is there and of what is told.

| kind | found | there | told | unit |
|---|---:|---:|---:|---|
"""


def samples(faces: Faces, side: int, count: dict[str, int], seed: int) -> Iterable:
    """(how, Sample): `count` of "clean", of "single" for each kind, and of "mixed"."""
    rng = np.random.default_rng(seed)
    wanted = [("single", [kind]) for kind in KINDS for _ in range(count["single"])]
    wanted += [("mixed", choose(rng, "mixed")) for _ in range(count["mixed"])]
    source = faces.large if side > 256 else faces.small
    for picture in source.pictures[: count["clean"]]:
        yield "clean", damage(_sized(picture, side), [], rng)
    for how, kinds in wanted:
        picture = source.pictures[rng.integers(len(source))]
        yield how, damage(_sized(picture, side), kinds, rng, unseen=bool(rng.random() < 0.5))


def _sized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if picture.shape[0] == side:
        return picture
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def look(found: Iterable, host: Host | None) -> list[Case]:
    """Each sample measured, without a host by the classical methods alone."""
    cases = []
    for how, sample in found:
        crop = torch.from_numpy(sample.picture)[None].float() / 255
        ours = estimate(crop, host=host)[0] if host else None
        measures = {kind: method(sample.picture) for kind, method in ESTIMATORS.items()}
        cases.append(Case(how, sample, ours, measures))
    return cases


def beyond(faces: Faces, host: Host, count: int = 12) -> str:
    """The section on damage that is worse than any in the tables."""
    rng = np.random.default_rng(3)
    text = BEYOND.format(count=count * len(KINDS))
    for kind in KINDS:
        pictures = (faces.small.pictures[i] for i in rng.integers(len(faces.small), size=count))
        cases = look((("single", damage(p, [kind], rng, worse=1.0)) for p in pictures), host)
        found = np.mean([case.found.finding(kind).present for case in cases])
        there = np.nanmedian([case.sample.strength[kind] for case in cases])
        told = np.median([case.found.finding(kind).strength for case in cases])
        text += f"| {kind} | {found:.0%} | {there:.3g} | {told:.3g} | {UNITS[kind]} |\n"
    return text


def speed(host: Host, rounds: int = 30) -> dict[str, float]:
    """Least processor time of one face on one core, ms; taken in turns."""
    restorer, estimator = host.load("kintsugi-restorer"), host.load("kintsugi-degradation")
    faces = {side: torch.rand(1, 3, side, side) for side in (256, 512)}
    runs = {
        "restorer": lambda: restorer(faces[256] * 2 - 1),
        "256": lambda: estimator(faces[256]),
        "512": lambda: estimator(faces[512]),
        "again": lambda: estimator.again(faces[256]),
    }
    least = dict.fromkeys(runs, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(rounds):
            for name, run in runs.items():
                begun = time.process_time()
                run()
                least[name] = min(least[name], (time.process_time() - begun) * 1000)
    torch.set_num_threads(threads)
    return least


def plot(cases: list[Case], path: Path) -> None:
    """Reliability of each kind: how often what was said to be likely was there."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 4, figsize=(9, 7), sharex=True, sharey=True, dpi=70)
    for axis, kind in zip(axes.flat, KINDS, strict=True):
        for how, colour in (("single", "tab:blue"), ("mixed", "tab:orange")):
            chosen = [c for c in cases if c.how in (how, "clean")]
            chosen = [c for c in chosen if c.sample.present[kind] == c.sample.present[kind]]
            probability = np.array([c.found.finding(kind).probability for c in chosen])
            present = np.array([c.sample.present[kind] for c in chosen])
            rows = calibration(probability, present)
            axis.plot([r[0] for r in rows], [r[1] for r in rows], "o-", color=colour, label=how)
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
        axis.set_title(kind, fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("probability told")
    figure.supylabel("share that had it")
    figure.tight_layout()
    figure.savefig(path)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _mark(value: float, good: bool) -> str:
    return _number(value) + ("" if good or value != value else " (missed)")


def table(cases: list[Case], curves: dict[str, tuple[float, NDArray]]) -> list[str]:
    """Rows of Markdown, one kind each."""
    groups = {
        "single": [c for c in cases if c.how in ("single", "clean")],
        "mixed": [c for c in cases if c.how in ("mixed", "clean")],
    }
    lines = [
        "| kind | AUC single | classical | AUC mixed | classical | error single | classical "
        "| error mixed | classical | unit | ECE single | mixed | method |",
        "|---|" + "---:|" * 8 + "---|---:|---:|---|",
    ]
    for kind in KINDS:
        one, many = (judge(groups[how], kind, curves[kind]) for how in ("single", "mixed"))
        bar = BARS.get(kind, float("inf"))
        unit = "relative" if kind in RELATIVE else UNITS[kind]
        row = [kind, _mark(one.auc[0], one.auc[0] >= 0.97), _number(one.auc[1])]
        row += [_mark(many.auc[0], many.auc[0] >= 0.9), _number(many.auc[1])]
        row += [_mark(one.error[0], one.error[0] <= bar), _number(one.error[1])]
        row += [_mark(many.error[0], many.error[0] <= bar), _number(many.error[1])]
        row += [unit, _number(one.ece), _number(many.ece), NAMES[kind]]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def more(cases: list[Case]) -> list[str]:
    """What the table has no column for."""
    lines = []
    for how in ("single", "mixed"):
        chosen = [c for c in cases if c.how == how]
        ours, theirs = angles(chosen)
        lines.append(
            f"- Direction of motion above {LEAST_MOTION:.0f} px, {how}: {_mark(ours, ours <= 12)} "
            f"degrees; directional derivatives {theirs:.1f}."
        )
        spoilt = [c for c in chosen if c.sample.present["missing"] == 1]
        ours, theirs = (
            overlap(spoilt, our_mask),
            overlap(spoilt, lambda c: outliers(c.sample.picture)),
        )
        sorts = ", ".join(
            f"{sort} {overlap([c for c in spoilt if c.sample.spoilt == sort], our_mask):.2f}"
            for sort in SORTS
        )
        lines.append(
            f"- Mask of what is missing, {how}: mean IoU {_mark(ours, ours >= 0.75)} ({sorts}); "
            f"median top-hat {theirs:.2f}."
        )
    share, kinds = flagged(cases)
    named = ", ".join(f"{kinds.count(k)} {k}" for k in KINDS if k in kinds)
    lines.append(
        f"- Clean faces with a finding: {100 * share:.1f} %{'' if share <= 0.03 else ' (missed)'}"
        f"{': ' + named if named else ''}."
    )
    lines.append("- " + grain_text(cases))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--single", type=int, default=40, help="faces of each kind")
    parser.add_argument("--mixed", type=int, default=360)
    parser.add_argument(
        "--fitted", type=int, default=30, help="faces of each kind classical methods see"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(0)
    host = Host()
    train, held = Faces(options.data, "train"), Faces(options.data, "val")
    few = {"clean": 40, "single": options.fitted, "mixed": 4 * options.fitted}
    fitted = look(samples(train, 256, few, seed=11), None)
    curves = {kind: fit(fitted, kind) for kind in KINDS}
    parts, everything = [], []
    for side, share in ((256, 1.0), (512, 0.5)):
        count = {"single": round(options.single * share), "mixed": round(options.mixed * share)}
        cases = look(samples(held, side, count | {"clean": 1000}, seed=side), host)
        everything += cases
        numbers = {how: sum(c.how == how for c in cases) for how in ("clean", "single", "mixed")}
        parts.append((HEAD if side == 256 else AGAIN).format(side=side, **numbers))
        parts += [*table(cases, curves), "", *more(cases), ""]
        print("\n".join(parts), flush=True)
    parts.append(beyond(held, host))
    plot([c for c in everything if c.side == 256], RESULTS / "degradation.png")
    cost = speed(host)
    parts += [
        "## Cost and reliability\n",
        f"Least processor time of one face on one core: {cost['256']:.1f} ms at 256 px and "
        f"{cost['512']:.1f} ms at 512 px, beside {cost['restorer']:.1f} ms for kintsugi-restorer: "
        f"{cost['256'] / cost['restorer']:.2f} and {cost['512'] / cost['restorer']:.2f} of it "
        f"(asked for: at most 0.10). Where something is missing, a second look takes "
        f"{cost['again']:.1f} ms more.\n",
        "![How often what was said to be likely was there](degradation.png)",
    ]
    (RESULTS / "degradation.md").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
