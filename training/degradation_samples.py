"""Store what kintsugi-degradation learns from:
python -m kintsugi.training.degradation_samples --out FOLDER --count N

Damaging a face costs as much as learning from it, so it is done once: every training, and the
calibration (`--kept`, people kept out of training), reads the files this leaves. They hold the
damaged pictures themselves, so that the statistics may change without drawing again; what the
network is given of them is worked out once more, on the first use (`Samples`).
"""

from __future__ import annotations

import argparse
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


def collect(data: Damaged, folder: Path, count: int, seed: int) -> None:
    """Store `count` samples in files of FILE."""
    rng = np.random.default_rng(seed)
    for index in range(count // FILE):
        drawn = [data.draw(rng) for _ in range(FILE)]
        pictures = [torch.from_numpy(one[0].picture.transpose(2, 0, 1).copy()) for one in drawn]
        parts = zip(*(labels(*one) for one in drawn), strict=True)
        stored: dict[str, Tensor | list[Tensor]] = {"pictures": pictures}
        stored |= {name: torch.stack(part) for name, part in zip(LABELS, parts, strict=True)}
        path = folder / f"{seed}-{index:03}.pt"
        torch.save(stored, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        print(f"{(index + 1) * FILE} samples", flush=True)


class Samples:
    """All stored samples of a folder, by index.

    few: FEW, one row a sample: signs (N, SIZE) half precision, zoom (N,), the labels as
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
    stored, signs = torch.load(path, weights_only=True), DamageSigns()
    seen, found, zoom = [], [], []
    for picture in stored.pop("pictures"):
        image = picture[None].float() / 255
        seen.append(((view(image)[0] + 1) * 127.5).round().byte())
        found.append(signs(image)[0].half())
        zoom.append(np.log2(image.shape[-1] / SIDE))
    stored |= {"view": torch.stack(seen), "signs": torch.stack(found), "zoom": torch.tensor(zoom)}
    stored["zoom"] = stored["zoom"].float()
    stored["missing"] = stored["mask"].bool().any(1)
    torch.save(stored, ready.with_suffix(".part"))
    ready.with_suffix(".part").rename(ready)
    return ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
    options = parser.parse_args()
    begin(options.seed, 1, options.out)
    faces = Faces(options.data, "train", calibration=options.kept)
    mixture = CALIBRATION if options.kept else MIXTURE
    worse = 0.0 if options.kept else options.worse
    data = Damaged(
        faces, others(options.data), mixture, options.often, worse, options.moved, options.sort
    )
    collect(data, options.out, options.count, options.seed)


if __name__ == "__main__":
    main()
