"""Seconds and memory of each restorer beside spandrel's implementation, in alternation in one run.

    python -m kintsugi.benchmarks.networks
    python -m kintsugi.benchmarks.networks --direct --faces 1 --out without.md
    python -m kintsugi.benchmarks.networks --device cuda --dtype bfloat16 --compile

Both sides get the same random weights and faces, and their results are compared. Where spandrel has
no such network, ours stands alone. The share is of the machine's own matrix-product rate, measured
between the rounds; work is counted on spandrel's network where there is one, so what ours saves by
folding counts for it. `--direct` forgoes minimal filtering, to see what it brings. Times mean
something on an otherwise idle machine only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kintsugi.benchmarks.random_weights import random_weights
from kintsugi.models import elir, gpen, hdit, hifacegan, pmrf, restoreformer, swinir, winograd
from kintsugi.models.loader import build

RESULT = Path(__file__).parent / "results" / "networks.md"
SIDE = 512
#: Side of the square matrices whose product gives the machine's rate.
PRODUCT = 2048


@dataclass(frozen=True)
class Entry:
    """A network to time: ours from `make` or from the weights of `theirs`."""

    make: Callable[[], nn.Module] | None = None
    theirs: Callable[[], nn.Module] | None = None
    keywords: dict = field(default_factory=dict)
    their_keywords: dict = field(default_factory=dict)
    remark: str = ""


def _spandrel(package: str, name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        _declare_operators()
        return getattr(importlib.import_module(f"{package}.architectures.{name}"), name)()

    return make


def _declare_operators() -> None:
    """Let torchvision, which spandrel imports, load beside a torch built without its kernels."""
    global _LIBRARY
    with contextlib.suppress(RuntimeError):
        _LIBRARY = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_LIBRARY: torch.library.Library | None = None


def _restoreformer_plus() -> nn.Module:
    return restoreformer.RestoreFormer(
        widths=[64, 128, 128, 256, 256, 512],
        blocks=2,
        latent=256,
        codes=1024,
        length=256,
        heads=4,
        attends={4, 5},
    )


def _elir() -> nn.Module:
    return elir.ELIR(64, 16, 96, 3, elir.Flow(16, [128, 128, 256, 256, 512], 3, 160, 640))


def _pmrf() -> nn.Module:
    flow = hdit.HDiT(
        widths=[256, 512, 1024],
        hidden=[768, 1536, 3072],
        heads=[4, 8, 16],
        down=[2, 2],
        up=[2, 2],
        middle=8,
        frequencies=8,
        condition=768,
        condition_hidden=2304,
        mapping=2,
        augmentation=9,
        patch=4,
    )
    return pmrf.PMRF(swinir.SwinIR(180, 6, 360, [6] * 8, 64), flow)


#: Spandrel's GFPGAN draws noise unless told not to; ours takes the stored one.
ENTRIES = {
    "gfpgan": Entry(
        theirs=_spandrel("spandrel", "GFPGAN"), their_keywords={"randomize_noise": False}
    ),
    "codeformer": Entry(
        theirs=_spandrel("spandrel_extra_arches", "CodeFormer"), remark="fidelity 0.5"
    ),
    "restoreformer": Entry(theirs=_spandrel("spandrel", "RestoreFormer")),
    "restoreformer++": Entry(make=_restoreformer_plus),
    "hifacegan": Entry(make=lambda: hifacegan.HiFaceGAN(64)),
    "gpen-512": Entry(make=lambda: gpen.GPEN([512] * 5 + [256, 128, 64], 512, 8)),
    "elir": Entry(make=_elir, keywords={"steps": 5}, remark="5 steps"),
    "pmrf": Entry(make=_pmrf, keywords={"steps": 2}, remark="2 of 25 steps"),
}


class Machine:
    """The device under test: clock, rate and memory."""

    def __init__(self, device: str, dtype: str) -> None:
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        self.matrix = torch.randn(PRODUCT, PRODUCT, device=self.device, dtype=self.dtype)
        self.rates: list[float] = []

    def settle(self) -> None:
        """Wait until all queued work is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """The time of one run."""
        self.settle()
        started = time.perf_counter()
        work()
        self.settle()
        return time.perf_counter() - started

    def measure_rate(self) -> None:
        """Note the rate of one matrix product, in GFLOP/s."""
        taken = min(self.seconds(lambda: self.matrix @ self.matrix) for _ in range(3))
        self.rates.append(2 * PRODUCT**3 / taken / 1e9)

    def rate(self) -> float:
        """The median of the noted rates, in GFLOP/s."""
        return statistics.median(self.rates)

    def peak(self, work: Callable[[], Tensor]) -> tuple[float | None, Tensor]:
        """Memory that one run needs above what is held, in MB or None if unreadable; its result."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            result = work()
            self.settle()
            return (torch.cuda.max_memory_allocated() - held) / 1e6, result
        try:
            # What earlier runs freed but the allocator kept would hide what this one needs.
            with contextlib.suppress(AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            held = _status("VmRSS")
        except OSError:
            return None, work()
        result = work()
        return (_status("VmHWM") - held) / 1e3, result

    def name(self) -> str:
        """What it is, in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name()
        try:
            lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            model = next(line.split(":")[1].strip() for line in lines if "model name" in line)
        except (OSError, StopIteration):
            model = platform.processor()
        return f"{model}, {torch.get_num_threads()} threads"


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


@dataclass(frozen=True)
class Row:
    """One network at one number of faces."""

    name: str
    faces: int
    ours: float
    theirs: float | None
    work: float
    memory: float | None
    their_memory: float | None
    difference: float | None

    def text(self, rate: float) -> str:
        """The row of the table, `rate` in GFLOP/s."""

        def cell(value: float | None, form: str) -> str:
            return "" if value is None else format(value, form)

        def share(seconds: float | None) -> float | None:
            return seconds and self.work / seconds / rate

        cells = [
            self.name,
            str(self.faces),
            cell(self.ours, ".3f"),
            cell(self.theirs, ".3f"),
            cell(self.theirs and self.theirs / self.ours, ".2f"),
            cell(share(self.ours), ".0%"),
            cell(share(self.theirs), ".0%"),
            cell(self.memory, ".0f"),
            cell(self.their_memory, ".0f"),
            cell(self.difference, ".1e"),
        ]
        return "| " + " | ".join(cells) + " |"


def gflop(network: nn.Module, keywords: dict, faces: int) -> float:
    """Multiplications and additions of one run, in GFLOP, counted on the meta device."""
    image = torch.empty(faces, 3, SIDE, SIDE, device="meta")
    network = network.to("meta").float().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, **keywords)
    return counter.get_total_flops() / 1e9


def first(result: Tensor | tuple) -> Tensor:
    """The image of what a network returns."""
    return result[0] if isinstance(result, tuple) else result


def measure(name: str, faces: list[int], rounds: int, machine: Machine, fuse: bool) -> list[Row]:
    """Rows of one network, both sides in turn, best of the rounds."""
    entry = ENTRIES[name]
    torch.manual_seed(0)
    if entry.theirs:
        theirs = entry.theirs().eval()
        state = theirs.state_dict()
    else:
        theirs = None
        with torch.device("meta"):
            network = entry.make()
        state = random_weights(network.state_dict())
    ours = build(state).to(machine.device, machine.dtype, memory_format=torch.channels_last)
    if theirs:
        theirs = theirs.to(machine.device, machine.dtype)
    call = torch.compile(ours) if fuse else ours
    rows = []
    for count in faces:
        image = torch.rand(count, 3, SIDE, SIDE) * 2 - 1
        image = image.to(machine.device, machine.dtype)

        def run_ours(image=image) -> Tensor:
            return first(call(image, **entry.keywords))

        def run_theirs(image=image) -> Tensor:
            return first(theirs(image, **entry.their_keywords))

        with torch.inference_mode():
            if not rows:  # the first runs of all also set up libraries and caches
                run_ours()
                if theirs:
                    run_theirs()
            memory, got = machine.peak(run_ours)
            their_memory, difference = None, None
            if theirs:
                their_memory, want = machine.peak(run_theirs)
                difference = float((got - want).abs().max() / want.abs().max())
                del want
            del got
            times: list[float] = []
            their_times: list[float] = []
            for _ in range(rounds):
                machine.measure_rate()
                times.append(machine.seconds(run_ours))
                if theirs:
                    their_times.append(machine.seconds(run_theirs))
        rows.append(
            Row(
                name=f"{name}, {entry.remark}" if entry.remark else name,
                faces=count,
                ours=min(times),
                theirs=min(their_times) if theirs else None,
                work=0.0,
                memory=memory,
                their_memory=their_memory,
                difference=difference,
            )
        )
    counted = theirs or ours
    keywords = entry.their_keywords if theirs else entry.keywords
    return [Row(**(vars(row) | {"work": gflop(counted, keywords, row.faces)})) for row in rows]


def report(rows: list[Row], machine: Machine, rounds: int) -> str:
    """The page that is kept."""
    ratios = [row.theirs / row.ours for row in rows if row.theirs]
    rate = machine.rate()
    lines = [
        "# Restorers beside spandrel",
        "",
        f"{machine.name()}; torch {torch.__version__}; {str(machine.dtype).removeprefix('torch.')};"
        f" {SIDE} px; best of {rounds} rounds in alternation; matrix product {rate:.0f} GFLOP/s.",
        "",
        "| network | faces | ours s | spandrel s | ratio | ours, share of rate | spandrel, share |"
        " ours peak MB | spandrel peak MB | greatest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(row.text(rate) for row in rows),
        "",
    ]
    if ratios:
        mean = statistics.geometric_mean(ratios)
        lines += [f"Geometric mean of the ratios {mean:.2f}, least {min(ratios):.2f}.", ""]
    lines += [
        "Peaks are above the weights. Work is counted on spandrel's network where there is one, so",
        "a share above 100 % means products that were saved. Differences are of the largest value;",
        "a codebook entry at a near tie may flip and show there.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Time what the arguments name and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--faces", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="compile ours, not spandrel's")
    parser.add_argument("--direct", action="store_true", help="no minimal filtering in ours")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.direct:
        winograd.pays = lambda x, weight: False
    machine = Machine(arguments.device, arguments.dtype)
    rows = []
    for name in arguments.networks:
        rows += measure(name, arguments.faces, arguments.rounds, machine, arguments.compile)
        print(rows[-1].text(machine.rate()), flush=True)
    page = report(rows, machine, arguments.rounds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
