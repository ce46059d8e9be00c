"""One network over aligned crops: the right pixels in and back, honest failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import zoo
from . import detail, pixels
from .batch import check_mask
from .colour import luma
from .holes import on_face, widened
from .host import Host
from .memory import OutOfMemory
from .passes import in_passes

if TYPE_CHECKING:
    from .degradation_estimate import Degradation

#: Side to which a crop is reduced to compare its coarse structure with the input's, see `_anchor`.
_COARSE = 32


class RestoreError(RuntimeError):
    """A restorer failed; the message says which, on what, and what to do."""


def rebuild(
    full: Tensor,
    card: zoo.ModelCard,
    host: Host,
    *,
    fidelity: float = 0.5,
    seed: int = 0,
    steps: int | None = None,
    holes: Tensor | None = None,
) -> Tensor:
    """Run one model of the zoo over crops.

    Args:
        full: (N, 3, S, S) RGB in [0, 1], N at least 1.
        card: a restorer, inpainter or colorizer.
        fidelity, seed, steps: as `restore` takes them.
        holes: (N, 1, S, S) with 0 or 1, what an inpainter fills; others do without.

    Returns:
        (N, 3, S, S) in [0, 1] where `full` is. An inpainter returns all but the holes as it was.

    Raises:
        RestoreError: the network failed or gave values that are not numbers.
    """
    network = host.load(card.name)
    damaged = full
    if card.kind == "colorizer":
        damaged = luma(full).expand(-1, 3, -1, -1)
    if card.kind == "inpainter" and holes is not None:
        damaged = full.lerp(torch.ones_like(full), holes)
    controls = _controls(network, card, fidelity, seed, steps)
    restored = in_passes(damaged, lambda part: _run(network, card, part, controls), host)
    restored = restored.to(full.device)
    if card.kind == "inpainter" and holes is not None:
        restored = full.lerp(restored, holes)
    if anchored(card, fidelity):
        restored = _anchor(full, restored, 2 * fidelity - 1)
    return restored.clamp_(0, 1)


def anchored(card: zoo.ModelCard, fidelity: float) -> bool:
    """Whether fidelity is reached by moving the coarse structure of the result to the input's."""
    return card.kind == "restorer" and "fidelity" not in card.controls and fidelity > 0.5


def as_holes(missing: Tensor, crops: Tensor) -> Tensor:
    """A mask of missing regions, (N, h, w), (1, h, w) or (h, w), as (N, 1, S, S) with 0 or 1 for
    crops (N, 3, S, S). Raises ValueError if there are not as many."""
    count, size = crops.shape[0], crops.shape[-1]
    mask = check_mask(missing, "missing")[:, None].to(crops)
    if mask.shape[0] not in (1, count):
        raise ValueError(
            f"{mask.shape[0]} masks of missing regions for {count} crops; give one, or one for each"
        )
    mask = F.interpolate(mask, size=(size, size), mode="nearest-exact")
    return (mask > 0.5).to(crops).expand(count, -1, -1, -1)


def found_holes(degradations: Sequence[Degradation | None], crops: Tensor) -> Tensor:
    """What findings say is missing from the faces in crops (N, 3, S, S), as `as_holes` has it, and
    a little more (holes.widened)."""
    holes = torch.zeros_like(crops[:, :1])
    for index, one in enumerate(degradations):
        if one is not None and one.finding("missing").present:
            found = widened(on_face(one.missing)[None, None])[0]
            holes[index] = as_holes(found, crops[index : index + 1])[0]
    return holes


def _controls(
    network: nn.Module, card: zoo.ModelCard, fidelity: float, seed: int, steps: int | None
) -> dict:
    """What of the settings this network takes, as its arguments; noise is that of one face."""
    controls = {}
    if "fidelity" in card.controls:
        controls["fidelity"] = fidelity
    if "seed" in card.controls:
        controls["noise"] = network.fresh_noise(1, torch.Generator().manual_seed(seed))
    if "steps" in card.controls and steps is not None:
        controls["steps"] = steps
    return controls


def _anchor(before: Tensor, after: Tensor, share: float) -> Tensor:
    """Move the coarse structure of `after` (N, 3, S, S) to that of `before` by `share`."""
    drift = detail.scale(before, _COARSE) - detail.scale(after, _COARSE)
    return after + detail.scale(drift, after.shape[-1]) * share


@torch.inference_mode()
def _run(network: nn.Module, card: zoo.ModelCard, full: Tensor, controls: dict) -> Tensor:
    dtype = next(network.parameters()).dtype
    before = detail.scale(full, card.crop).clamp(0, 1)
    if "noise" in controls:
        controls = {**controls, "noise": _repeated(controls["noise"], full.shape[0])}
    try:
        output = network(pixels.feed(before, card.pixels).to(dtype), **controls)
    except OutOfMemory:
        raise
    except RuntimeError as error:
        raise RestoreError(
            f"{card.title} failed on {full.shape[0]} crop(s) of {full.shape[-1]} px: {error}; "
            "try another model or report this with the message"
        ) from error
    output = output[0] if isinstance(output, tuple) else output
    after = pixels.read(output.float(), card.pixels)
    if not bool(torch.isfinite(after).all()):
        raise RestoreError(
            f"{card.title} in {dtype} gave values that are not numbers; "
            "run it in float32 or choose another model"
        )
    return detail.return_to_size(full, before, after.clamp(0, 1))


def _repeated(noise: Tensor | list[Tensor], count: int) -> Tensor | list[Tensor]:
    if isinstance(noise, list):
        return [_repeated(part, count) for part in noise]
    return noise.expand(count, *noise.shape[1:])
