"""Store what kintsugi-degradation learns from:
python -m kintsugi.training.degradation_samples --out FOLDER --count N

Damaging a face costs as much as learning from it, so it is done once: every training, and the
calibration (`--kept`, people kept out of training), reads the files this leaves. They hold the
damaged pictures themselves, so that the statistics may change without drawing again; what the
network is given of them is worked out once more, on the first use (`Samples`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kintsugi.models.damage_signs import DamageSigns
from kintsugi.models.degradation import SIDE, view
from kintsugi.training.degradation_data import CALIBRATION, MIXTURE, Damaged, Faces, labels, others
from kintsugi.training.mixture import SORTS, WORSE
from kintsugi.training.session import begin

#: Samples of a file.
FILE = 200

#: What is stored of each, beside "pictures": a list of (3, S, S) uint8.
LABELS = ("present", "strength", "extras", "mask", "where", "clean")

#: Numbers of a sample that fit into memory; the pictures stay on the disk.
FEW = ("signs", "zoom", "present", "strength", "extras", "clean", "missing")


def drawn(data: Damaged, count: int, seed: int) -> Iterator[dict[str, Tensor | list[Tensor]]]:
    """`count` samples, FILE at a time, as they are stored."""
    rng = np.random.default_rng(seed)
    for _ in range(count // FILE):
        samples = [data.draw(rng) for _ in range(FILE)]
        parts = zip(*(labels(*one) for one in samples), strict=True)
        pictures = [torch.from_numpy(one[0].picture.transpose(2, 0, 1).copy()) for one in samples]
        found = {name: torch.stack(part) for name, part in zip(LABELS, parts, strict=True)}
        yield {"pictures": pictures, **found}


def store(files: Iterable[dict], folder: Path, seed: int) -> None:
    """One file after another, none of which is ever seen half written."""
    for index, found in enumerate(files):
        path = folder / f"{seed}-{index:03}.pt"
        torch.save(found, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        print(f"{(index + 1) * FILE} samples", flush=True)


def few(stored: dict[str, Tensor | list[Tensor]], signs: DamageSigns) -> dict[str, Tensor]:
    """FEW of the samples of a file."""
    pictures = [picture[None].float() / 255 for picture in stored["pictures"]]
    found = {name: stored[name] for name in FEW if name in stored}
    found["signs"] = torch.cat([signs(picture) for picture in pictures]).half()
    found["zoom"] = torch.tensor([picture.shape[-1] / SIDE for picture in pictures]).log2()
    return found | {"missing": stored["mask"].bool().any(1)}


class Samples:
    """All stored samples of a folder, by index.

    few: FEW, one row a sample: signs (N, LEVELS, SIZE) half precision, zoom (N,), the labels as
    degradation_data.labels has them, and whether anything is drawn in the mask.
    """

    def __init__(self, folder: Path):
        paths = sorted(folder.glob("*.pt"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no samples; run degradation_samples first")
        self.files = [torch.load(_prepared(path), mmap=True, weights_only=True) for path in paths]
        self.few = {name: torch.cat([file[name] for file in self.files]) for name in FEW}

    def __len__(self) -> int:
        return len(self.few["zoom"])

    def maps(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """View (3, 256, 256) uint8, mask (256, 256) bool, where (32, 32) of one sample."""
        file, row = self.files[index // FILE], index % FILE
        bits = np.unpackbits(file["mask"][row].numpy()).reshape(SIDE, SIDE)
        return file["view"][row], torch.from_numpy(bits).bool(), file["where"][row]

    def views(self) -> list[Tensor]:
        """All views, by file."""
        return [file["view"] for file in self.files]


@torch.inference_mode()
def _prepared(path: Path) -> Path:
    """The file with views and statistics in place of the pictures."""
    ready = path.parent / "ready" / path.name
    if ready.exists():
        return ready
    ready.parent.mkdir(exist_ok=True)
    stored = torch.load(path, weights_only=True)
    stored |= few(stored, DamageSigns())
    seen = [view(picture[None].float() / 255) for picture in stored.pop("pictures")]
    stored["view"] = torch.cat([((one + 1) * 127.5).round().byte() for one in seen])
    torch.save(stored, ready.with_suffix(".part"))
    ready.with_suffix(".part").rename(ready)
    return ready


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What is drawn, and where to."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40000)
    parser.add_argument("--kept", action="store_true", help="of people kept out, for calibration")
    parser.add_argument("--often", default="", help="a kind of damage to draw in every other one")
    parser.add_argument(
        "--worse", type=float, default=WORSE, help="chance of strengths beyond their ranges"
    )
    parser.add_argument(
        "--moved", type=float, default=0.0, help="share of faces before another background"
    )
    parser.add_argument("--sort", default="", choices=("", *SORTS), help="what is missing")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def damaged(options: argparse.Namespace) -> Damaged:
    """What is drawn from, by the options."""
    faces = Faces(options.data, "train", calibration=options.kept)
    mixture = CALIBRATION if options.kept else MIXTURE
    worse = 0.0 if options.kept else options.worse
    return Damaged(
        faces, others(options.data), mixture, options.often, worse, options.moved, options.sort
    )


def main() -> None:
    options = arguments(__doc__).parse_args()
    begin(options.seed, 1, options.out)
    store(drawn(damaged(options), options.count, options.seed), options.out, options.seed)


if __name__ == "__main__":
    main()
