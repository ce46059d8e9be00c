"""The zoo: which models there are, which lie on disk, and how a name becomes a network."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from . import hub, loader
from .card import ModelCard, Source
from .cards import CARDS
from .hub import HubError, Progress, default_library
from .library import Library, RefusedFileError
from .weights_file import WeightsError

__all__ = [
    "CARDS",
    "RESTORERS_BY_PREFERENCE",
    "HubError",
    "Library",
    "ModelCard",
    "Source",
    "WeightsError",
    "allowed",
    "available",
    "best_restorer",
    "card",
    "load",
    "locate",
]

#: What "auto" takes first of those on disk: who keeps the person best, by the identity angle on
#: CelebA-Test in the table of PMRF (Ohayon et al., https://arxiv.org/abs/2410.00418); the flow
#: restorers stand behind because they take many passes a face, what that table lacks behind those.
RESTORERS_BY_PREFERENCE = (
    "restoreformer++",
    "gfpgan-1.4",
    "codeformer",
    "pmrf",
    "elir",
    "restoreformer",
    "gfpgan-1.3",
    "gpen-512",
    "hifacegan",
    "kintsugi-restorer",
)


def card(name: str) -> ModelCard:
    """The card of model `name`.

    Raises:
        KeyError: there is no such model; the message lists the names.
    """
    if name not in CARDS:
        raise KeyError(f"there is no model {name!r}; choose one of: {', '.join(CARDS)}")
    return CARDS[name]


def allowed(card: ModelCard, *, commercial_only: bool = False) -> bool:
    """Whether a licence filter lets `card` pass; "unclear" does not count as a yes."""
    return not commercial_only or card.commercial == "yes"


def check_allowed(card: ModelCard, commercial_only: bool) -> None:
    """Raises ValueError if a licence filter does not let `card` pass."""
    if not allowed(card, commercial_only=commercial_only):
        raise ValueError(
            f"{card.title} is not cleared for commercial use ({card.reason}) and 'commercial use "
            "only' is on; choose another model or turn the filter off"
        )


def available(
    kind: str | None = None, library: Library | None = None, *, commercial_only: bool = False
) -> list[ModelCard]:
    """The cards whose file is on disk now, in table order; nothing is fetched or hashed.

    Args:
        kind: one of `card.KINDS`; None for all.
        library: where to look; the command line's folders without it.
        commercial_only: leave out what may not certainly be used commercially.
    """
    library = library or default_library()
    files = library.files()
    return [
        card
        for card in CARDS.values()
        if kind in (None, card.kind)
        and allowed(card, commercial_only=commercial_only)
        and _on_disk(card, library, files)
    ]


def _on_disk(card: ModelCard, library: Library, files: list[Path]) -> bool:
    try:
        return library.find(card, files=files, by_hash=False) is not None
    except RefusedFileError:
        return False


def best_restorer(library: Library | None = None, *, commercial_only: bool = False) -> ModelCard:
    """What "auto" means: the first of RESTORERS_BY_PREFERENCE on disk. Nothing is fetched.

    Raises:
        HubError: no restorer is on disk, not even the built-in one.
    """
    found = {card.name: card for card in available("restorer", library)}
    for name in RESTORERS_BY_PREFERENCE:
        if name in found and allowed(found[name], commercial_only=commercial_only):
            return found[name]
    raise HubError("no restorer is on disk; name one, such as gfpgan-1.4, to have it fetched")


def locate(name: str, *, library: Library | None = None, progress: Progress | None = None) -> Path:
    """The file of model `name`, fetched if it is not on disk.

    Args:
        name: a key of CARDS.
        library: where to look and where to put it; the command line's folders without it.
        progress: told (bytes done, bytes in all) of a download; may raise to stop it.

    Raises:
        KeyError: there is no such model.
        HubError: the file is not there and could not be fetched.
    """
    return hub.locate(card(name), library or default_library(), progress)


def load(
    name: str, *, library: Library | None = None, progress: Progress | None = None
) -> nn.Module:
    """The network of model `name` on the CPU, in eval mode, its file fetched if it is not on disk.

    Args:
        name: a key of CARDS.
        library: where to look and where to put it; the command line's folders without it.
        progress: told (bytes done, bytes in all) of a download; may raise to stop it.

    Raises:
        KeyError: there is no such model.
        HubError: the file is not there and could not be fetched.
        WeightsError: the file is there and is not this model.
    """
    entry = card(name)
    path = locate(name, library=library, progress=progress)
    if entry.architecture == "onnx":
        raise WeightsError(
            path,
            f"{entry.title} is published as an ONNX graph",
            "it runs in onnxruntime (the extra [onnx]); its path is zoo.locate's",
        )
    checkpoint = loader.load_file(path)
    remedy = f"delete it and fetch it again, or place the file of {entry.page}"
    try:
        seen = loader.recognise(checkpoint).name
        if seen != entry.architecture:
            raise WeightsError(path, f"is a {seen} file, {entry.title} expected", remedy)
        return loader.build(checkpoint)
    except WeightsError:
        raise
    except (RuntimeError, ValueError) as error:
        raise WeightsError(path, str(error), remedy) from error
