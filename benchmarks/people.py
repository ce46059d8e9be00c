"""Whom a benchmark of one damage looks at: photographs of validation people, and their judge."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..training.data import portraits
from ..training.teachers import Identity
from .restoration import Judge, Pictures


@dataclass(frozen=True)
class People:
    """every: all validation crops, clean. clean: those photographs of real people that are looked
    at. data: the folder they come from."""

    every: Pictures
    clean: Pictures
    data: Path

    def judge(self, clean: Pictures) -> tuple[Judge, NDArray]:
        """The judge of what becomes of `clean`, and its embeddings."""
        judge = Judge(clean, Identity(self.data))
        return judge, judge.embeddings(clean)


def asked(description: str | None) -> People:
    """The people that the command line asks for; threads are set as it says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--part", type=int, default=3, help="every n-th photograph")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    held = portraits(options.data, "val")
    clean = held.pictures[np.flatnonzero(held.real)[:: options.part]]
    return People(held.pictures, clean, options.data)
