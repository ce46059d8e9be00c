"""Keeping house among the models: what is there, what is whole, taking one away, the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .card import ModelCard
from .cards import CARDS
from .library import PRIVATE, Library, RefusedFileError, sha256_of


@dataclass(frozen=True)
class Entry:
    """A model and its file.

    card: the model.
    path: where the file lies; None if it is not on disk.
    note: what is wrong with a file by its name, or what checking it found; else empty.
    good: False if `note` is a fault.
    """

    card: ModelCard
    path: Path | None
    note: str = ""
    good: bool = True


def entries(library: Library, cards: Iterable[ModelCard] = CARDS.values()) -> list[Entry]:
    """Every model with its place on disk; nothing is fetched or hashed."""
    files = library.files()
    rows = []
    for card in cards:
        try:
            rows.append(Entry(card, library.find(card, files=files, by_hash=False)))
        except RefusedFileError as error:
            rows.append(Entry(card, None, str(error), good=False))
    return rows


def verify(
    library: Library,
    cards: Iterable[ModelCard] = CARDS.values(),
    tick: Callable[[], None] = lambda: None,
) -> list[Entry]:
    """Read every file on disk and compare it with its published hash.

    Args:
        library: where to look.
        cards: which models.
        tick: called between chunks; may raise to stop.

    Returns:
        One entry for each model that has a file; `note` says what was found.
    """
    rows = []
    for entry in entries(library, cards):
        expected = library.facts(entry.card).sha256
        if entry.path is None:
            if not entry.good:
                rows.append(entry)
            continue
        if entry.card.builtin:
            rows.append(Entry(entry.card, entry.path, "part of the package"))
        elif expected is None:
            rows.append(Entry(entry.card, entry.path, "no public hash to compare with"))
        else:
            seen = sha256_of(entry.path, tick)
            good = seen == expected
            note = "ok" if good else f"sha256 is {seen}, {expected} expected; delete it"
            rows.append(Entry(entry.card, entry.path, note, good))
    return rows


def remove(card: ModelCard, library: Library) -> list[Path]:
    """Delete a model's file and what is left of its downloads; the hash seen first is kept.

    Only what this program fetched is touched: files elsewhere or by other names belong to others.

    Returns:
        The deleted files.

    Raises:
        RefusedFileError: the model is part of the package, or its file lies in another folder.
    """
    if card.builtin:
        raise RefusedFileError(f"{card.name} is part of the package and stays")
    folder = library.destination(card)
    parts = (folder / PRIVATE).glob("*.part")
    doomed = [folder / card.file, *(p for p in parts if p.name.startswith(f"{card.file}."))]
    deleted = []
    for path in doomed:
        if path.is_file() or path.is_symlink():
            path.unlink()
            deleted.append(path)
    if not deleted:
        elsewhere = library.find(card)
        if elsewhere is not None:
            raise RefusedFileError(
                f"{elsewhere} is not {folder / card.file}, the name of our downloads; "
                "another program may need it, so delete it yourself"
            )
    return deleted


def megabytes(size: int | None) -> str:
    """A size for people: "349 MB", "1.8 MB", "?" where unknown."""
    if size is None:
        return "?"
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def table() -> str:
    """The models as a Markdown table, for the README."""
    rows = [
        "| name | model | kind | size | weights licence | commercial use | how to get it |",
        "|---|---|---|---|---|---|---|",
    ]
    for card in CARDS.values():
        how = "built in" if card.builtin else "fetched on demand"
        if not card.builtin and not card.sources:
            how = f"[by hand]({card.page}), as `{card.file}` into `{card.folder}`"
        title = card.title if card.builtin else f"[{card.title}]({card.page})"
        size = card.size
        if card.builtin:
            path = Library({}).find(card)
            size = path.stat().st_size if path else None
        rows.append(
            f"| `{card.name}` | {title} | {card.kind} | {megabytes(size)} | "
            f"{card.weights_license} | {card.commercial}: {card.reason} | {how} |"
        )
    return "\n".join(rows) + "\n"
