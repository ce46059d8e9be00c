"""Measures IdentityGuard on new people: `python -m kintsugi.benchmarks.guard`.

Validation people, real photographs, heavily damaged with fixed seeds. Honest results are those of
the built-in restorer; broken ones carry another person's crop, a colour shift or a mean face. The
table goes to `benchmarks/results/guard.md`. `--fit` fits the curves of stages/structure.py on
training people instead.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kintsugi import samples
from kintsugi.stages import colour, embedders, octaves, structure
from kintsugi.stages.blend import blend
from kintsugi.stages.detail import blur
from kintsugi.stages.face_detect import detect
from kintsugi.stages.host import Host
from kintsugi.stages.identity_guard import THRESHOLD, Guarded, guard
from kintsugi.stages.invented import invented
from kintsugi.stages.landmark_align import align
from kintsugi.stages.restore import restore
from kintsugi.training.data import portraits
from kintsugi.training.degradations import degrade

RESULT = Path(__file__).parent / "results" / "guard.md"
MODEL = "kintsugi-restorer"

#: Shares of another person's crop, and those that must be caught.
SHARES, CAUGHT = (0.2, 0.4, 0.6, 0.8, 1.0), 0.6

#: Share of the honest restorations of heavy damage that the fit lets through.
KEPT = 0.95

#: Kinds of swap: their clean photo, their restored one, the clean one in the face's own tones, and
#: that inside a soft oval alone.
SWAPS = ("clean", "restored", "toned", "oval")

#: Colour matrices of the strong shifts: a warm gain, and the channels changed about.
SHIFTS = {
    "colour gain 1.35, 1, 0.7": torch.diag(torch.tensor([1.35, 1.0, 0.7])),
    "colour channels changed about": torch.eye(3)[[1, 2, 0]],
}


def people(folder: Path, split: str, count: int) -> Tensor:
    """(N, 256, 256, 3) photographs of real people, drawn with a fixed seed."""
    found = portraits(folder, split, licence=None)
    chosen = np.random.default_rng(1).permutation(np.flatnonzero(found.real))[:count]
    return torch.from_numpy(found.pictures[chosen]).float() / 255


def damaged(clean: Tensor, strength: str) -> Tensor:
    """The same faces, each with a seed of its own."""
    kind = ("light", "medium", "heavy").index(strength) + 1
    pictures = [
        degrade((face * 255).byte().numpy(), np.random.default_rng([number, kind]), strength)[0]
        for number, face in enumerate(clean)
    ]
    return torch.from_numpy(np.stack(pictures)).float() / 255


def honest(clean: Tensor, restored: Tensor) -> dict[str, Tensor]:
    """Results of which none shows another person; the truth stands for a perfect restorer."""
    return {"restored": restored, "half way to the truth": (restored + clean) / 2, "truth": clean}


def swaps(clean: Tensor, restored: Tensor) -> dict[tuple[str, float], Tensor]:
    """Results with another person's crop in them, by kind and share."""

    def toned(face: Tensor) -> Tensor:
        planes = (part.permute(0, 3, 1, 2) for part in (face, restored))
        return colour.match(*planes).permute(0, 2, 3, 1).clamp(0, 1)

    oval = blur(octaves.region("face", 256)[None, None], 31, 8.0)[0, 0, ..., None]
    strangers = {
        "clean": clean.roll(1, 0),
        "restored": restored.roll(7, 0),
        "toned": toned(clean.roll(7, 0)),
    }
    strangers["oval"] = strangers["toned"]
    return {
        (kind, share): restored + share * (oval if kind == "oval" else 1) * (face - restored)
        for kind, face in strangers.items()
        for share in SHARES
    }


def broken(clean: Tensor, restored: Tensor) -> dict[str, Tensor]:
    """Results that lost the person otherwise."""
    mean = clean.mean(0, keepdim=True).expand_as(clean)
    shifted = {name: (restored @ matrix).clamp(0, 1) for name, matrix in SHIFTS.items()}
    return {"mean face": mean, **shifted}


def measure(folder: Path, count: int) -> list[str]:
    """The lines of the result."""
    clean = people(folder, "val", count)
    heavy = damaged(clean, "heavy")
    host = Host()
    restored = restore(heavy, model=MODEL, host=host).crops
    card = embedders.choose("auto", library=host.library)

    def judged(results: Tensor, **settings) -> Guarded:
        return guard(heavy, results, host=host, embedder=card.name, **settings)

    lines = [
        "# IdentityGuard",
        "",
        f"{len(clean)} validation people, real photographs of 256 px, damaged `heavy` with fixed "
        f"seeds; threshold {THRESHOLD}; embedder {card.title}. A result is let through if its "
        "probability reaches the threshold. Written by `python -m kintsugi.benchmarks.guard`.",
        "",
        "| result | let through at full strength | median probability |",
        "|---|---|---|",
    ]
    through = {}
    for name, results in honest(clean, restored).items():
        through[name] = judged(results, action="report").probability_before
    caught: list[Tensor] = []
    for (kind, share), results in swaps(clean, restored).items():
        told = judged(results, action="report").probability_before
        through[f"swap, {kind}, {share:.0%}"] = told
        if share >= CAUGHT:
            caught.append(told)
    for name, results in broken(clean, restored).items():
        through[name] = judged(results, action="report").probability_before
    lines += [
        f"| {name} | {float((told >= THRESHOLD).float().mean()):.1%} | {float(told.median()):.2f} |"
        for name, told in through.items()
    ]
    every = torch.cat(caught)
    kept = float((through["restored"] >= THRESHOLD).float().mean())
    lines += [
        "",
        f"Honest restorations kept at full strength: {kept:.1%} (bar 90 %). Swaps of "
        f"{CAUGHT:.0%} and more caught: {float((every < THRESHOLD).float().mean()):.2%} of "
        f"{len(every)} (bar 99 %).",
        "",
    ]
    return [*lines, *backed_off(heavy, clean, restored, host, card.name)]


def backed_off(
    heavy: Tensor, clean: Tensor, restored: Tensor, host: Host, embedder: str, count: int = 10
) -> list[str]:
    """What leaves when the guard acts, measured again from the start."""
    many, strangers = slice(count), swaps(clean, restored)
    cases = {f"swap, {kind}, 60%": strangers[kind, 0.6] for kind in SWAPS[:3]}
    cases |= broken(clean, restored)
    lines = [
        f"With the action `back off`, the first {count} people; what left was measured again.",
        "",
        "| result | backed off | refused | least probability that left | cosine to the original, "
        "came and left | share of the original returned | evaluations |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, results in cases.items():
        acted = guard(heavy[many], results[many], host=host, embedder=embedder)
        again = guard(heavy[many], acted.crops, host=host, embedder=embedder, action="report")
        refused = sum(source < 0 for source in acted.source)
        mixed = (acted.returned > 0) & (acted.returned < 1)
        came, left = acted.similarity_before.mean(), acted.similarity_after.mean()
        share = float(acted.returned[mixed].mean()) if bool(mixed.any()) else 0.0
        lines.append(
            f"| {name} | {int(mixed.sum())} | {refused} | "
            f"{float(again.probability_before.min()):.2f} | {came:.2f}, {left:.2f} | "
            f"{share:.2f} | {acted.evaluations} |"
        )
    return [*lines, ""]


def seconds(count: int = 3) -> list[str]:
    """What the guard adds to a graph, in seconds of one processor core."""
    portrait = samples.portraits()["collins"].crop((60, 0, 440, 380))
    small = portrait.resize((190, 190)).resize((1000, 1000))
    image = torch.from_numpy(np.asarray(small)).float()[None] / 255
    host = Host()
    faces = detect(image, host=host)
    crops, faces = align(image, faces, host=host)
    restored = restore(crops, model=MODEL, host=host).crops
    guard(crops, restored, faces=faces, host=host)
    steps = {
        "detect": lambda: detect(image, host=host),
        "align": lambda: align(image, faces, host=host),
        "restore": lambda: restore(crops, model=MODEL, host=host),
        "blend": lambda: blend(image, restored, faces, host=host),
        "guard, all kept": lambda: guard(crops, restored, faces=faces, host=host),
        "guard, backing off": lambda: guard(
            crops, crops.flip(2) * 0.6 + restored * 0.4, faces=faces, floor=0.0, host=host
        ),
    }
    taken = {}
    for name, step in steps.items():
        step()
        runs = []
        for _ in range(count):
            started = time.process_time()
            step()
            runs.append(time.process_time() - started)
        taken[name] = min(runs)
    graph = sum(taken[name] for name in ("detect", "align", "restore", "blend"))
    cells = ", ".join(f"{name} {value:.3f}" for name, value in taken.items())
    return [
        f"Seconds of one core for one face of 512 px in a picture of 1000 px, fastest of {count}: "
        f"{cells}. The guard adds {taken['guard, all kept'] / graph:.0%} to detect, align, restore "
        f"and blend where all is kept (bar 30 %), {taken['guard, backing off'] / graph:.0%} where "
        "it backs off.",
        "",
    ]


def support(folder: Path, count: int = 24) -> list[str]:
    """What `invented` says where the truth is known."""
    clean = people(folder, "val", count)
    host = Host()
    lines = [
        "Share of the detail above 4 px of 512 that counts as invented (eyes / mouth / skin / "
        f"hair), {count} of the same people. The truth of a heavily damaged face has most of its "
        "detail from nowhere in the original, so it counts as invented although it is right.",
        "",
        "| damage | the damaged face itself | built-in restorer | truth | another person |",
        "|---|---|---|---|---|",
    ]
    for strength in ("light", "medium", "heavy"):
        before = damaged(clean, strength)
        restored = restore(before, model=MODEL, host=host).crops
        cells = []
        for results in (before, restored, clean, clean.roll(1, 0)):
            shares = invented(before, results).shares
            means = [np.mean([own[name] for own in shares]) for name in shares[0]]
            cells.append(" / ".join(f"{mean:.2f}" for mean in means))
        lines.append(f"| {strength} | {' | '.join(cells)} |")
    return [*lines, ""]


def bands(folder: Path, count: int = 30) -> list[str]:
    """How much of identity octaves and regions carry: loss of cosine when they are another's."""
    from kintsugi.training.teachers import Identity

    network = Identity(folder).eval()
    clean = people(folder, "train", count).permute(0, 3, 1, 2)
    other = clean.roll(1, 0)

    @torch.inference_mode()
    def embed(planes: Tensor) -> Tensor:
        parts = planes.clamp(0, 1).split(15)
        return torch.cat([network(part * 2 - 1)[0] for part in parts])

    own = embed(clean)

    def lost(planes: Tensor) -> float:
        return 1 - float((embed(planes) * own).sum(1).mean())

    mine, theirs = octaves.split(clean), octaves.split(other)
    waves = (*octaves.wavelengths(256), octaves.LONGEST)
    cells = []
    for number, wave in enumerate(waves):
        mixed = [*mine[:number], theirs[number], *mine[number + 1 :]]
        cells.append(f"{wave} px {lost(octaves.join(mixed)):.3f}")
    regions = {name: octaves.region(name, 256) for name in ("eyes", "nose", "mouth", "face")}
    features = sum(regions[name] for name in ("eyes", "nose", "mouth")).clamp(max=1)
    regions["rest of the face"] = (regions["face"] - features).clamp(min=0)
    regions["around the face"] = 1 - regions.pop("face")
    places = [
        f"{name} {lost(clean + mask * (other - clean)) / float(mask.mean()):.2f}"
        for name, mask in regions.items()
    ]
    return [
        f"What carries identity: {count} training people, MobileFaceNet, loss of cosine when one "
        f"octave (from so many px of 512) is another person's: {', '.join(cells)}. By region, for "
        f"its share of the crop: {', '.join(places)}.",
        "",
    ]


def fit_curve(good: Tensor, bad: Tensor, sign: int) -> structure.Curve:
    """The logistic curve between figures (N, K) of honest and of broken results, which count the
    same in all.

    sign: of the weights. Without it an octave that two honest results have less of than a swap
    would speak against the person, and a crop compared with itself be less than certain.
    """
    figures = torch.cat([good, bad]).double()
    wanted = torch.cat([torch.ones(len(good)), torch.zeros(len(bad))]).double()
    counts = torch.where(wanted > 0, 1 / len(good), 1 / len(bad))
    mean, deviation = figures.mean(0), figures.std(0).clamp(min=1e-6)
    ready = (figures - mean) / deviation
    roots = torch.full((figures.shape[1],), 0.5, dtype=torch.double, requires_grad=True)
    bias = torch.zeros((), dtype=torch.double, requires_grad=True)
    solver = torch.optim.LBFGS([roots, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        slope = sign * roots.square()
        told = torch.nn.functional.binary_cross_entropy_with_logits(
            bias + ready @ slope, wanted, reduction="none"
        )
        value = (told * counts).sum() + 1e-3 * slope.square().sum()
        value.backward()
        return value

    solver.step(loss)
    weights = (sign * roots.square() / deviation).detach()
    offset = float(bias.detach() - (weights * mean).sum())
    return structure.Curve(round(offset, 3), tuple(round(float(w), 3) for w in weights))


def fit(folder: Path, count: int) -> list[str]:
    """The curves of stages/structure.py from training people."""
    clean = people(folder, "train", count)
    host, good, bad, tinted, plain = Host(), [], [], [], []
    for strength in ("medium", "heavy"):
        before = damaged(clean, strength)
        restored = restore(before, model=MODEL, host=host).crops
        old, tones = octaves.plane(before, structure.SIDE), structure.lab(before)
        results = honest(clean, restored)
        # What the built-in restorer does comes twice, as most results are like it.
        for face in (restored, *results.values()):
            good.append(structure.forms(old, octaves.plane(face, structure.SIDE)))
            plain.append(structure.tones(tones, structure.lab(face)))
        lost = broken(clean, restored)
        strangers = [face for (_, share), face in swaps(clean, restored).items() if share == 0.6]
        for face in (*strangers, lost.pop("mean face")):
            bad.append(structure.forms(old, octaves.plane(face, structure.SIDE)))
        tinted += [structure.tones(tones, structure.lab(face)) for face in lost.values()]
    forms = fit_curve(torch.cat(good), torch.cat(bad), 1)
    # Of honest restorations, the hardest ones included, this share is let through.
    hardest = structure.forms(old, octaves.plane(restored, structure.SIDE))
    least = torch.logit(forms(hardest).double()).quantile(1 - KEPT)
    forms = replace(forms, bias=round(forms.bias - min(float(least), 0.0), 3))
    return [
        f"FORMS = {forms}",
        f"TONES = {fit_curve(torch.cat(plain), torch.cat(tinted), -1)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--fit", action="store_true", help="fit the curves instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.fit:
        print("\n".join(fit(args.data, args.people)))
        return
    lines: list[str] = []
    parts = (lambda: measure(args.data, args.people), seconds)
    for part in (*parts, lambda: support(args.data), lambda: bands(args.data)):
        lines += part()
        RESULT.write_text("\n".join(lines).rstrip() + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
