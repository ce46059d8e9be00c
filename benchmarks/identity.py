"""Measures embedders on people nobody was trained on: `python -m kintsugi.benchmarks.identity`.

Ours beside its teacher, both on the same views of the same crops, and whatever embedder of the zoo
lies on disk. The tables go to `benchmarks/results/identity.md`, with the curve that turns cosines
into probabilities; `stages/embedders.py` holds that of the last line.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import zoo
from ..stages.embedders import embed
from ..stages.host import Host
from ..training.degradations import degrade
from ..training.identity_views import seen
from ..training.teachers import Identity

STRENGTHS = ("clean", "light", "medium", "heavy")

#: Shares of a stranger's crop mixed into a face.
MIXED = (0.2, 0.4, 0.6, 0.8, 1.0)

#: Edges of the groups of probabilities in the reliability table.
BINS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

OURS, TEACHER = "kintsugi-identity", "teacher (MobileFaceNet)"

HEAD = """# Identity

Two photographs, years apart, of each of 150 people of the data folder (`test-identity`), none of
whom was trained on. "pairs" are its 150 genuine and 3000 impostor pairs; everything else takes all
pairs of a first and a second photograph that fit. AUC: chance that a genuine pair is more alike
than an impostor one. TAR: share of the genuine pairs above the cosine that 1 % (0.1 %) of the
impostor pairs reach. Written by `python -m kintsugi.benchmarks.identity`.
"""


@dataclass(frozen=True)
class People:
    """Crops (N, S, S, 3) uint8 RGB with person, sex ("M", "F", "") and year of birth ("") each."""

    files: list[str]
    crops: np.ndarray
    person: np.ndarray
    sex: np.ndarray
    born: np.ndarray


def people(data: Path) -> People:
    """The test set, in the manifest's order."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "test-identity"]
    crops = np.stack([cv2.imread(str(data / row["file"]))[..., ::-1] for row in rows])
    columns = [np.array([row[key] for row in rows]) for key in ("person", "gender", "birth")]
    known = {person: (s, b) for person, s, b in zip(*columns, strict=True) if s}
    # Some rows of a person lack what the other one says.
    sex, born = (np.array([known.get(p, ("", ""))[i] for p in columns[0]]) for i in (0, 1))
    return People([row["file"] for row in rows], crops, columns[0], sex, born)


def damaged(crops: np.ndarray, strength: str) -> np.ndarray:
    """All crops damaged with fixed seeds."""
    rng = np.random.default_rng(11)
    return np.stack([degrade(crop, rng, strength)[0] for crop in crops])


def asked(name: str, host: Host) -> Callable[[np.ndarray], Tensor]:
    """An embedder of the zoo, through the stage, for uint8 crops."""
    return lambda crops: embed(torch.from_numpy(crops).float() / 255, model=name, host=host)


def teacher(data: Path) -> Callable[[np.ndarray], Tensor]:
    """The teacher on the views that ours gets."""
    network = Identity(data)

    @torch.inference_mode()
    def answer(crops: np.ndarray) -> Tensor:
        parts = []
        for start in range(0, len(crops), 25):
            view = seen(crops[start : start + 25])
            fed = ((view - network.mean) / network.std).contiguous(
                memory_format=torch.channels_last
            )
            parts.append(F.normalize(network.network(fed)[0], dim=1))
        return torch.cat(parts)

    return answer


def auc(same: Tensor, other: Tensor) -> float:
    """Area under the ROC curve, ties counted half."""
    order = other.sort().values
    below = torch.searchsorted(order, same) + torch.searchsorted(order, same, right=True)
    return float(below.double().mean() / 2 / len(other))


def tar(same: Tensor, other: Tensor, far: float) -> float:
    """True accepts at the cosine that a share `far` of the strangers reaches."""
    return float((same > torch.quantile(other, 1 - far)).float().mean())


def split(table: Tensor, rows: np.ndarray, columns: np.ndarray) -> tuple[Tensor, Tensor]:
    """Similarities (R, C) of the same person and of others; people of rows and columns."""
    same = torch.from_numpy(rows[:, None] == columns[None])
    return table[same], table[~same]


def fit(same: Tensor, other: Tensor) -> tuple[float, float]:
    """Centre and slope of the logistic curve, both kinds weighted alike.

    Platt, "Probabilistic outputs for support vector machines", 1999: targets a little inside 0 and
    1, so that pairs that can be told apart without error do not make the curve a step.
    """
    x = torch.cat([same, other]).double()
    target = torch.cat([
        torch.full((len(same),), (len(same) + 1) / (len(same) + 2)),
        torch.full((len(other),), 1 / (len(other) + 2)),
    ]).double()  # fmt: skip
    weight = torch.cat([
        torch.full((len(same),), 0.5 / len(same)), torch.full((len(other),), 0.5 / len(other))
    ]).double()  # fmt: skip
    line = torch.tensor([10.0, -3.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], lr=0.5, max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.binary_cross_entropy_with_logits(
            line[0] * x + line[1], target, weight, reduction="sum"
        )
        value.backward()
        return value

    optimiser.step(loss)
    slope, shift = line.detach().tolist()
    return -shift / slope, slope


def halves(group: People) -> tuple[np.ndarray, np.ndarray]:
    """Two masks over the pictures that share no person."""
    order = {person: index for index, person in enumerate(sorted(set(group.person)))}
    first = np.array([order[person] % 2 == 0 for person in group.person])
    return first, ~first


def cross(answers: dict[str, Tensor], group: People, mask: np.ndarray, strength: str):
    """Genuine and impostor similarities of first photographs, clean, to second ones damaged."""
    second = np.array([file.endswith("_1.jpg") for file in group.files])
    rows, columns = mask & ~second, mask & second
    table = answers["clean"][rows] @ answers[strength][columns].T
    return split(table, group.person[rows], group.person[columns])


def calibration(answers: dict[str, Tensor], group: People) -> tuple[list[str], float, float]:
    """Lines of the report, and centre and slope of the curve fitted to everybody."""
    first, second = halves(group)
    everybody = first | second

    def pooled(mask: np.ndarray) -> tuple[Tensor, Tensor]:
        parts = [cross(answers, group, mask, strength) for strength in ("clean", "light")]
        same, other = zip(*parts, strict=True)
        return torch.cat(same), torch.cat(other)

    centre, slope = fit(*pooled(first))
    same, other = pooled(second)
    lines = [
        "Clean and light pairs, both answers weighted alike. Fitted to the pairs of one half of "
        f"the people (centre {centre:.3f}, slope {slope:.1f}), checked on those of the other half "
        f"({len(same)} genuine, {len(other)} impostor):",
        "",
        "| said | mean of it | same person in truth | genuine | impostor |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    chance, strange = (torch.sigmoid(slope * (part - centre)) for part in (same, other))
    for low, high in zip(BINS, BINS[1:], strict=False):
        last = high == BINS[-1]
        a, b = (p[(p >= low) & ((p < high) | last)] for p in (chance, strange))
        wa, wb = len(a) / len(chance), len(b) / len(strange)
        if wa + wb:
            said = (a.sum() / len(chance) + b.sum() / len(strange)) / (wa + wb)
            lines.append(
                f"| {low:g} to {high:g} | {float(said):.3f} | {wa / (wa + wb):.3f} | {len(a)} | "
                f"{len(b)} |"
            )
    brier = float(((1 - chance) ** 2).mean() + (strange**2).mean()) / 2
    centre, slope = fit(*pooled(everybody))
    lines += ["", f"Brier score there {brier:.4f}. Fitted to everybody, which is what is shipped: "
              f"centre {centre:.4f}, slope {slope:.2f}."]  # fmt: skip
    return lines, centre, slope


def table(rows: list[list[str]]) -> list[str]:
    """A Markdown table, its first row the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def verification(answers: dict[str, dict[str, Tensor]], group: People, data: Path) -> list[str]:
    """AUC and TAR on the listed pairs, then by group on all pairs inside it."""
    place = {file: index for index, file in enumerate(group.files)}
    with (data / "test-identity" / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    one, two = (torch.tensor([place[pair[key]] for pair in pairs]) for key in ("file1", "file2"))
    genuine = torch.tensor([pair["same"] == "1" for pair in pairs])
    rows = [["pairs", "embedder", "genuine", "impostor", "AUC", "TAR 1 %", "TAR 0.1 %", "cosines"]]

    def add(title: str, name: str, same: Tensor, other: Tensor) -> None:
        rows.append([
            title, name, str(len(same)), str(len(other)), f"{auc(same, other):.4f}",
            f"{tar(same, other, 0.01):.3f}", f"{tar(same, other, 0.001):.3f}",
            f"{same.mean():.2f} ± {same.std():.2f}, {other.mean():.2f} ± {other.std():.2f}",
        ])  # fmt: skip

    for name, answer in answers.items():
        cosines = (answer["clean"][one] * answer["clean"][two]).sum(1)
        add("pairs", name, cosines[genuine], cosines[~genuine])
    decade = np.array([year[:3] for year in group.born])
    groups = {
        "women": group.sex == "F", "men": group.sex == "M", "sex unknown": group.sex == "",
        "born before 1950": (decade != "") & (decade < "195"),
        "born 1950 to 1969": (decade == "195") | (decade == "196"),
        "born 1970 and later": decade >= "197",
    }  # fmt: skip
    for title, mask in groups.items():
        for name, answer in answers.items():
            add(title, name, *cross(answer, group, mask, "clean"))
    return table(rows)


def damage(answers: dict[str, dict[str, Tensor]], group: People) -> list[str]:
    """How similarities fall with the damage of one of the two pictures."""
    rows = [["damage", "embedder", "to itself, clean", "lowest tenth", "to the other photograph",
             "AUC", "TAR 1 %", "centre, slope"]]  # fmt: skip
    everybody = np.ones(len(group.files), bool)
    for strength in STRENGTHS:
        for name, answer in answers.items():
            itself = (answer["clean"] * answer[strength]).sum(1)
            same, other = cross(answer, group, everybody, strength)
            centre, slope = fit(same, other)
            rows.append([
                strength, name, f"{itself.mean():.2f}", f"{torch.quantile(itself, 0.1):.2f}",
                f"{same.mean():.2f} ± {same.std():.2f}", f"{auc(same, other):.4f}",
                f"{tar(same, other, 0.01):.3f}", f"{centre:.3f}, {slope:.1f}",
            ])  # fmt: skip
    return table(rows)


def mixtures(ask: Callable, group: People, curve: tuple[float, float]) -> list[str]:
    """How similarities fall when a stranger's crop is mixed in, pixel by pixel."""
    second = np.array([file.endswith("_1.jpg") for file in group.files])
    crops = group.crops[~second].astype(np.float32)
    strangers = np.roll(crops, 1, axis=0)
    clean = ask(group.crops[~second])
    rows = [["share of a stranger", "cosine", "probability, mean", "taken for the same (0.5)"]]
    for share in MIXED:
        mixed = np.rint(crops * (1 - share) + strangers * share).astype(np.uint8)
        cosine = (ask(mixed) * clean).sum(1)
        chance = torch.sigmoid(curve[1] * (cosine - curve[0]))
        rows.append([
            f"{share:.0%}", f"{cosine.mean():.2f} ± {cosine.std():.2f}", f"{chance.mean():.3f}",
            f"{(chance > 0.5).float().mean():.3f}",
        ])  # fmt: skip
    return table(rows)


def milliseconds(ask: Callable, crops: np.ndarray) -> float:
    """Processor time per face, the least of five runs."""
    ask(crops)
    best = math.inf
    for _ in range(5):
        begun = time.process_time()
        ask(crops)
        best = min(best, time.process_time() - begun)
    return 1000 * best / len(crops)


def main() -> None:
    """Command line."""
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"), help="the data set")
    parser.add_argument("--out", type=Path, default=root / "benchmarks/results/identity.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    host, group = Host(), people(options.data)
    names = [card.name for card in zoo.available("embedder", host.library) if card.name != OURS]
    askers = {OURS: asked(OURS, host), TEACHER: teacher(options.data)}
    askers |= {name: asked(name, host) for name in names}
    answers: dict[str, dict[str, Tensor]] = {name: {} for name in askers}
    for strength in STRENGTHS:
        crops = damaged(group.crops, strength)
        for name, ask in askers.items():
            answers[name][strength] = ask(crops)
    lines, centre, slope = calibration(answers[OURS], group)
    agreement = (answers[OURS]["clean"] * answers[TEACHER]["clean"]).sum(1).mean()
    text = [
        HEAD, *verification(answers, group, options.data), "",
        "The manifest gives no skin tone, so there is no table by it. Years of birth stand for "
        "age; people without an entry are under \"sex unknown\" alone. Groups hold few people: 1 % "
        "of their genuine pairs can be less than one pair. Mean cosine between the embeddings of "
        f"ours and the teacher: {agreement:.3f}.",
        "", "## Calibration of ours", "", *lines, "", "## Damage", "",
        "First photographs clean, second ones damaged by `training/degradations.py`. "
        "\"To itself\": a damaged photograph and its own clean original. Centre and slope: the "
        "curve that damage alone would want.",
        "", *damage(answers, group), "", "## Strangers mixed in (ours)", "",
        *mixtures(askers[OURS], group, (centre, slope)), "", "## Cost", "",
        "Processor time of one core per face, stage and view included, the least of five: "
        f"{milliseconds(askers[OURS], group.crops[:1]):.1f} ms alone, "
        f"{milliseconds(askers[OURS], group.crops[:8]):.1f} ms in batches of eight "
        "(256 px crops); teacher in eight "
        f"{milliseconds(askers[TEACHER], group.crops[:8]):.1f} ms.",
    ]  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
