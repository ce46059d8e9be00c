"""Restore: rebuild aligned faces with one restorer, whatever size its network works at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import zoo
from . import detail, pixels
from .batch import check_crops
from .colour import luma
from .host import Host
from .passes import in_passes

#: Kinds of models that rebuild a face: all of it, its missing regions, or its colours.
KINDS = ("restorer", "inpainter", "colorizer")

#: Side to which a crop is reduced to compare its coarse structure with the input's, see `_anchor`.
_COARSE = 32


class RestoreError(RuntimeError):
    """A restorer failed; the message says which, on what, and what to do."""


@dataclass(frozen=True)
class Restored:
    """Restored crops and how they came about.

    crops: (N, S, S, 3) in [0, 1]. models: name of the model that made each, "" where a crop was
    left as it was. fidelity, strength, seed: as asked for. report: one line for a person.
    """

    crops: Tensor
    models: tuple[str, ...]
    fidelity: float
    strength: float
    seed: int
    report: str


def choose(
    model: str, commercial_only: bool = False, library: zoo.Library | None = None
) -> zoo.ModelCard:
    """The card that a model name stands for, or "auto": the best one whose file is in `library`.

    Raises:
        ValueError: no such restorer, or its licence does not pass the filter.
    """
    if model == "auto":
        return zoo.best_restorer(library, commercial_only=commercial_only)
    known = [name for name, card in zoo.CARDS.items() if card.kind in KINDS]
    if model not in known:
        raise ValueError(f"unknown restorer {model!r}; choose auto or one of {', '.join(known)}")
    card = zoo.CARDS[model]
    if not zoo.allowed(card, commercial_only=commercial_only):
        raise ValueError(
            f"{card.title} is not cleared for commercial use ({card.reason}) and 'commercial use "
            "only' is on; choose another model or turn the filter off"
        )
    return card


def restore(
    crops: Tensor,
    *,
    model: str = "auto",
    fidelity: float = 0.5,
    strength: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
    missing: Tensor | None = None,
    commercial_only: bool = False,
    host: Host | None = None,
) -> Restored:
    """Restore aligned faces.

    Args:
        crops: (N, S, S, 3) in [0, 1], FFHQ-aligned, any S; N may be 0.
        model: a restorer of the zoo, or "auto": the best one that needs no download.
        fidelity: 0 (most detail) to 1 (closest to the input). Models with such a control of their
            own (ModelCard.fidelity) follow it. For the others 0.5 and less is their result as it
            is; above, its coarse structure (a 32nd of the side and more) moves to the input's,
            wholly at 1.
        strength: 0 (the crop as it is) to 1 (the restored crop).
        seed: fixes the noise of models that draw some; every face gets the same, so that neither
            batches nor frames of a video change it.
        missing: (N, S, S), (1, S, S) or (S, S) mask, 1 where a crop has no content; another size is
            resized. An inpainter fills it and leaves the rest as it is; others do without.
        steps: of models that take several (flows); None takes their authors' number.
        commercial_only: refuse models whose licence does not clearly allow commercial use.

    Returns:
        Restored, crops float32 on the device they came on.

    Raises:
        ValueError: wrong shapes, settings out of range, refused licence, an inpainter without a
            mask.
        RestoreError: the network failed or gave values that are not numbers.
    """
    crops = check_crops(crops)
    for name, value in (("fidelity", fidelity), ("strength", strength)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; choose 0 to 1")
    host = host or Host()
    card = choose(model, commercial_only, host.library)
    if card.kind == "inpainter" and missing is None:
        raise ValueError(f"{card.title} fills missing regions; give a mask that is 1 there")
    count = crops.shape[0]
    if not count or strength == 0:
        why = "no faces" if not count else "strength 0"
        return Restored(crops, ("",) * count, fidelity, strength, seed, f"{why}: nothing restored")
    if crops.shape[-1] != 3:
        crops = crops[..., :1].expand(-1, -1, -1, 3) if crops.shape[-1] == 1 else crops[..., :3]
    network = host.load(card.name)
    full = crops.permute(0, 3, 1, 2).float()
    if card.kind == "colorizer":
        full = luma(full).expand(-1, 3, -1, -1)
    holes = _holes(missing, full) if card.kind == "inpainter" else None
    damaged = full if holes is None else full.lerp(torch.ones_like(full), holes)
    controls = _controls(network, card, fidelity, seed, steps)
    restored = in_passes(damaged, lambda part: _run(network, card, part, controls), host)
    restored = restored.to(crops.device)
    if holes is not None:
        restored = full.lerp(restored, holes)
    anchored = card.kind == "restorer" and "fidelity" not in card.controls and fidelity > 0.5
    if anchored:
        restored = _anchor(full, restored, 2 * fidelity - 1)
    if strength < 1:
        restored = torch.lerp(full, restored, strength)
    restored = restored.clamp_(0, 1).permute(0, 2, 3, 1).contiguous()
    report = f"{count} face{'s' if count > 1 else ''} restored with {card.title}"
    if "fidelity" in card.controls or anchored:
        report += f", fidelity {fidelity:g}"
    if strength < 1:
        report += f", strength {strength:g}"
    return Restored(restored, (card.name,) * count, fidelity, strength, seed, report)


def _holes(missing: Tensor, crops: Tensor) -> Tensor:
    """The mask of missing regions, (N, 1, S, S) with 0 or 1, for crops (N, 3, S, S)."""
    count, size = crops.shape[0], crops.shape[-1]
    mask = missing.reshape(-1, 1, *missing.shape[-2:]).to(crops)
    if mask.shape[0] not in (1, count):
        raise ValueError(f"{mask.shape[0]} masks of missing regions for {count} crops")
    mask = F.interpolate(mask, size=(size, size), mode="nearest-exact")
    return (mask > 0.5).to(crops).expand(count, -1, -1, -1)


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
    except torch.OutOfMemoryError:
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
