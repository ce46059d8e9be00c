"""Where weights lie on disk: the registered folders, and how a card's file is recognised there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from .card import ModelCard
from .cards import CARDS

#: Hidden folder inside a model folder: unfinished downloads, their locks, hashes seen first.
PRIVATE = ".kintsugi"

#: Builtin weights, part of the package.
WEIGHTS = Path(__file__).parent / "weights"

_CHUNK = 1 << 20


class RefusedFileError(ValueError):
    """A file has the right name but cannot be the model; the message says why and what to do."""


@dataclass(frozen=True)
class Facts:
    """What a card's file must be: size in bytes and sha256, each None where nobody knows."""

    size: int | None
    sha256: str | None


def sha256_of(path: Path, tick: Callable[[], None] = lambda: None) -> str:
    """The sha256 of a file, in hexadecimal; `tick` is called between chunks and may raise."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            tick()
    return digest.hexdigest()


class Library:
    """Folders of weights by ComfyUI model category.

    Args:
        folders: category to folders; downloads go to the first of each. A folder may be a link and
            need not exist. Categories beyond the zoo's own are searched too.
    """

    def __init__(self, folders: Mapping[str, Sequence[str | Path]]):
        self.folders = {
            category: tuple(Path(os.path.abspath(folder)) for folder in paths)
            for category, paths in folders.items()
        }
        self._hashes: dict[tuple, str] = {}

    def destination(self, card: ModelCard) -> Path:
        """The folder that a download of `card` goes to.

        Raises:
            RefusedFileError: no folder is registered for the card's category.
        """
        if card.builtin:
            return WEIGHTS
        if not self.folders.get(card.folder or ""):
            raise RefusedFileError(
                f"no folder is registered for {card.folder!r}, where {card.file} belongs; "
                f"registered: {', '.join(self.folders) or 'none'}"
            )
        return self.folders[card.folder][0]

    def private(self, card: ModelCard, ending: str) -> Path:
        """The hidden file kept beside a card's file for `ending`, such as "lock"."""
        return self.destination(card) / PRIVATE / f"{card.file}.{ending}"

    def facts(self, card: ModelCard) -> Facts:
        """Size and hash of a card's file: the card's, else those of its first download."""
        size, sha256 = card.size, card.sha256
        if not card.builtin and sha256 is None:
            try:
                record = json.loads(self.private(card, "json").read_text("utf-8"))
                size, sha256 = int(record["size"]), str(record["sha256"])
            except (OSError, RefusedFileError, ValueError, KeyError, TypeError):
                pass  # never downloaded here
        return Facts(size, sha256)

    def record(self, card: ModelCard, facts: Facts, source: str) -> None:
        """Remember what a first download was, for cards whose hash is not public."""
        path = self.private(card, "json")
        text = json.dumps({"size": facts.size, "sha256": facts.sha256, "source": source}, indent=1)
        unfinished = path.with_suffix(".new")
        unfinished.write_text(text + "\n", "utf-8")
        os.replace(unfinished, path)

    def files(self, first: str | None = None) -> list[Path]:
        """Every file in the registered folders and below, those of category `first` first."""
        order = sorted(self.folders, key=lambda category: category != first)
        roots = dict.fromkeys(root for category in order for root in self.folders[category])
        found: dict[Path, None] = {}
        for root in roots:
            found.update(dict.fromkeys(_walk(root)))
        return list(found)

    def inside(self, path: Path) -> bool:
        """Whether `path`, links followed, lies in one of the registered folders."""
        real = path.resolve()
        roots = (root.resolve() for paths in self.folders.values() for root in paths)
        return any(real.is_relative_to(root) for root in roots)

    def path(self, category: str, name: str) -> Path:
        """The file `name` of a category, as a menu or a workflow spells it.

        Args:
            category: a registered category.
            name: relative to one of its folders, "/" between folders.

        Raises:
            RefusedFileError: the name is absolute, climbs out with "..", is led out by a link, or
                names no file.
        """
        windows = PureWindowsPath(name)  # splits at both slashes, on every system
        if windows.drive or windows.root or ".." in windows.parts or not windows.parts:
            raise RefusedFileError(
                f"{name!r} is not the name of a file inside the model folders; "
                "give it relative to them, without '..'"
            )
        for root in self.folders.get(category, ()):
            path = root.joinpath(*windows.parts)
            if path.is_file():
                self._refuse_escape(path)
                return path
        places = ", ".join(map(str, self.folders.get(category, ()))) or "no folder"
        raise RefusedFileError(f"there is no file {name!r} for {category!r} in {places}")

    def find(
        self,
        card: ModelCard,
        *,
        files: list[Path] | None = None,
        by_hash: bool = True,
        tick: Callable[[], None] = lambda: None,
    ) -> Path | None:
        """The file of `card` on disk, whoever put it there, or None.

        It is recognised by its name, ours or another pack's, and its size; under any other name by
        its size and then its sha256.

        Args:
            card: what to look for.
            files: what `files()` returned, where several cards are looked up.
            by_hash: read files where only that can tell: those of exactly the right size under
                other names, and those by a name of the card whose size is not known.
            tick: called while such a file is read; may raise to stop.

        Raises:
            RefusedFileError: nothing fits, but a file by that name is there and is wrong.
        """
        if card.builtin:
            path = WEIGHTS / card.file
            return path if path.is_file() else None
        files = self.files(card.folder) if files is None else files
        facts = self.facts(card)
        names = [name.casefold() for name in card.names]
        refused = None
        for path in (path for path in files if path.name.casefold() in names):
            try:
                self._refuse_escape(path)
                self._refuse_other(path, facts, by_hash, tick)
                return path
            except RefusedFileError as error:
                refused = refused or error
        if by_hash and facts.size and facts.sha256:
            for path in self._strangers(files, facts.size):
                if self.sha256(path, tick) == facts.sha256:
                    return path
        if refused:
            raise refused
        return None

    def _strangers(self, files: list[Path], size: int) -> Iterator[Path]:
        """Files of exactly `size` bytes under names that no card knows, inside the folders."""
        known = {name.casefold() for card in CARDS.values() for name in card.names}
        for path in files:
            if path.name.casefold() not in known and _size(path) == size and self.inside(path):
                yield path

    def sha256(self, path: Path, tick: Callable[[], None] = lambda: None) -> str:
        """The sha256 of a file, read once for each state of it."""
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = sha256_of(path, tick)
        return self._hashes[key]

    def _refuse_other(
        self, path: Path, facts: Facts, by_hash: bool, tick: Callable[[], None]
    ) -> None:
        seen = _size(path)
        if facts.size is not None and seen != facts.size:
            raise RefusedFileError(
                f"{path} has {seen} bytes, {facts.size} expected: an unfinished download or "
                "another file; delete or rename it"
            )
        if by_hash and facts.size is None and facts.sha256 is not None:
            found = self.sha256(path, tick)
            if found != facts.sha256:
                raise RefusedFileError(
                    f"{path} is not the published file (sha256 {found}, {facts.sha256} "
                    "expected); delete or rename it"
                )

    def _refuse_escape(self, path: Path) -> None:
        if not self.inside(path):
            raise RefusedFileError(
                f"{path} is a link to {path.resolve()}, outside the model folders; put the file "
                "itself there, or register the folder it points to"
            )


def _walk(root: Path) -> Iterator[Path]:
    """Files under `root` in a stable order, linked folders included, each folder once."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link
        return -1
