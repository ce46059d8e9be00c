"""`kintsugi models`: list, fetch, check and remove the models on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from .models import hub, store, zoo
from .models.library import RefusedFileError


def add_models_command(subparsers) -> argparse.ArgumentParser:
    """Add the sub-command `models` to what `ArgumentParser.add_subparsers` returned."""
    parser = subparsers.add_parser(
        "models",
        help="list, download, verify and remove models",
        description="Without an option: every model, its licence and whether it is on disk.",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--download", metavar="NAME", nargs="+", help="fetch these models")
    one.add_argument("--verify", action="store_true", help="check the files on disk by their hash")
    one.add_argument("--remove", metavar="NAME", nargs="+", help="delete downloaded models")
    one.add_argument("--table", action="store_true", help="print the README's table in Markdown")
    parser.add_argument(
        "--commercial-only",
        action="store_true",
        help="list and fetch only what may certainly be used commercially",
    )
    parser.set_defaults(run=run_models)
    return parser


def run_models(args: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    if args.table:
        sys.stdout.write(store.table())
        return 0
    library = hub.default_library()
    if args.verify:
        return _verify(library)
    if args.download:
        return _each(args.download, lambda name: _download(name, library, args.commercial_only))
    if args.remove:
        return _each(args.remove, lambda name: _remove(name, library))
    return _list(library, args.commercial_only)


def _each(names: list[str], act: Callable[[str], None]) -> int:
    """Act on every name; a failure is told and does not keep the others from their turn."""
    failed = 0
    for name in names:
        try:
            act(name)
        except KeyError as error:
            failed += 1
            sys.stderr.write(f"kintsugi: {error.args[0]}\n")
        except (zoo.HubError, RefusedFileError, OSError) as error:
            failed += 1
            sys.stderr.write(f"kintsugi: {error}\n")
    return 1 if failed else 0


def _list(library: zoo.Library, commercial_only: bool) -> int:
    rows = [("name", "kind", "size", "on disk", "commercial", "licence of the weights")]
    notes = []
    for entry in store.entries(library):
        card = entry.card
        if not zoo.allowed(card, commercial_only=commercial_only):
            continue
        missing = "no" if card.sources or card.builtin else "no, by hand"
        size = store.megabytes(entry.path.stat().st_size if entry.path else card.size)
        here = "yes" if entry.path else missing
        rows.append((card.name, card.kind, size, here, card.commercial, card.weights_license))
        if entry.note:
            notes.append(entry.note)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    for note in notes:
        sys.stderr.write(f"kintsugi: {note}\n")
    return 0


def _verify(library: zoo.Library) -> int:
    found = store.verify(library)
    for entry in found:
        sys.stdout.write(f"{entry.card.name}: {entry.note} ({entry.path or 'not usable'})\n")
    return 0 if all(entry.good for entry in found) else 1


def _download(name: str, library: zoo.Library, commercial_only: bool) -> None:
    card = zoo.card(name)
    if not zoo.allowed(card, commercial_only=commercial_only):
        raise RefusedFileError(f"{name} is not for certain commercial use: {card.reason}")
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        path = zoo.locate(name, library=library, progress=progress)
    sys.stdout.write(f"{name}: {path} ({card.weights_license})\n")


def _remove(name: str, library: zoo.Library) -> None:
    card = zoo.card(name)
    deleted = store.remove(card, library)
    for path in deleted:
        sys.stdout.write(f"{name}: deleted {path}\n")
    if not deleted:
        sys.stdout.write(f"{name}: is not on disk\n")
