"""Store what the head of kintsugi-degradation learns from:
python -m kintsugi.training.degradation_features --run RUN --out FOLDER --count N

The head errs where it has seen too little: it learns from several times as many samples as the
U-Net, of which only the statistics and what the finished U-Net makes of them are kept. They are new
to the U-Net, so that the head trusts it no more than it deserves. Drawn as degradation_samples
draws, which gives the same samples from the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from kintsugi.models.damage_signs import DamageSigns
from kintsugi.models.degradation import Degradation, view
from kintsugi.training.degradation_samples import (
    FEW,
    arguments,
    damaged,
    drawn,
    few,
    store,
)
from kintsugi.training.session import begin

#: Samples of a pass of the U-Net.
PASS = 20


@torch.inference_mode()
def looked_at(files: Iterable[dict], network: Degradation) -> Iterator[dict[str, Tensor]]:
    """FEW of each file of samples, and the "features" that the U-Net makes of them."""
    signs = DamageSigns()
    for stored in files:
        views = torch.cat([view(picture[None].float() / 255) for picture in stored["pictures"]])
        features = torch.cat([network.picture(part)[0] for part in views.split(PASS)])
        yield few(stored, signs) | {"features": features}


class Features:
    """All that is stored in folders: `few`, FEW by name, and `seen`, the features (N, size)."""

    def __init__(self, folders: list[Path]):
        paths = sorted(path for folder in folders for path in folder.glob("*.pt"))
        if not paths:
            raise FileNotFoundError(f"{folders} hold nothing; run degradation_features first")
        files = [torch.load(path, mmap=True, weights_only=True) for path in paths]
        self.few = {name: torch.cat([file[name] for file in files]) for name in FEW}
        self.seen = torch.cat([file["features"] for file in files])

    def __len__(self) -> int:
        return len(self.seen)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="whose final.pt has the U-Net")
    options = parser.parse_args()
    begin(options.seed, 1, options.out)
    network = Degradation().eval().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(options.run / "final.pt", weights_only=True)["average"])
    files = drawn(damaged(options), options.count, options.seed)
    store(looked_at(files, network), options.out, options.seed)


if __name__ == "__main__":
    main()
