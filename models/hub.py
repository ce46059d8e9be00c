"""From a card to its file: found on disk, or fetched from the Hub once, whole and checked.

The only module of `models` that reads the environment: KINTSUGI_MODELS and COMFYUI_PATH for
folders; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE as huggingface_hub means them; and
REQUESTS_CA_BUNDLE, which names the certificates of company proxies.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import filelock

from .card import ModelCard, Source
from .library import Facts, Library, RefusedFileError, sha256_of
from .transfer import TransferError, download, in_background, patiently, retry_after

#: Told (bytes done, bytes in all) while a file arrives; may raise to stop, which keeps the bytes.
Progress = Callable[[int, int], None]

#: Kept free beside a download, bytes: a full disk breaks more than this file.
SPARE = 64 << 20

#: Answers that mean the file is not to be had there, so the next source is asked.
GONE = frozenset({401, 403, 404, 410, 416, 451})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


class HubError(RuntimeError):
    """A model's file is not there and could not be fetched.

    The message names the file, what happened, the address and the folder to put it in by hand.
    """


class _UnusableError(Exception):
    """This source cannot give the file; another may."""


def default_library() -> Library:
    """The folders of the command line and of scripts.

    KINTSUGI_MODELS names the folders of models, the first of which takes the downloads (the user's
    cache folder without it); a ComfyUI at COMFYUI_PATH lends its own. Each holds one folder for
    each category: facerestore_models, facedetection, kintsugi.
    """
    named = os.environ.get("KINTSUGI_MODELS", "")
    roots = [Path(part).expanduser() for part in named.split(os.pathsep) if part.strip()]
    roots = roots or [_cache_folder()]
    if comfyui := os.environ.get("COMFYUI_PATH"):
        roots.append(Path(comfyui).expanduser() / "models")
    categories = ("facerestore_models", "facedetection", "kintsugi")
    return Library({category: [root / category for root in roots] for category in categories})


def _cache_folder() -> Path:
    """Where this system keeps what can be fetched again."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kintsugi" / "models"


def locate(card: ModelCard, library: Library, progress: Progress | None = None) -> Path:
    """The file of `card`: where it lies, or where it was just put.

    Args:
        card: the model.
        library: folders to look in and to download to.
        progress: follows a download; raising stops it and keeps what has arrived.

    Raises:
        HubError: the file is not there and could not be fetched.
    """
    try:
        found = library.find(card)
        if found is not None:
            return found
        if card.builtin:
            raise RefusedFileError(f"{card.file} is missing from this installation; install again")
        folder = library.destination(card)
    except RefusedFileError as error:
        raise HubError(f"{card.title}: {error}") from error
    if not card.sources:
        raise HubError(_by_hand(card, folder, "its weights are on no hub"))
    if _offline():
        raise HubError(_by_hand(card, folder, "HF_HUB_OFFLINE is set, nothing is fetched"))
    try:
        return _fetch(card, library, folder, progress or (lambda done, total: None))
    except OSError as error:
        raise HubError(_by_hand(card, folder, str(error))) from error


def address(source: Source) -> str:
    """Where a source's bytes are: on the Hub, or on the mirror that HF_ENDPOINT names."""
    import huggingface_hub

    return huggingface_hub.hf_hub_url(
        source.repo,
        source.file,
        repo_type=source.repo_type,
        revision=source.revision,
        endpoint=(os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None,
    )


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def _by_hand(card: ModelCard, folder: Path, happened: str) -> str:
    where = address(card.sources[0]) if card.sources else card.page
    also = f" (or from {card.page})" if card.sources else ""
    return (
        f"{card.title}: {card.file} could not be fetched: {happened}. "
        f"Download it from {where}{also} and put it into {folder} as {card.file}"
    )


def _fetch(card: ModelCard, library: Library, folder: Path, progress: Progress) -> Path:
    """Download under a lock, so that whoever else asks for the file meanwhile waits for it."""
    final = folder / card.file
    library.private(card, "lock").parent.mkdir(parents=True, exist_ok=True)
    with _alone(library.private(card, "lock"), lambda: progress(0, card.size or 0)):
        found = library.find(card)
        if found is not None:
            return found
        reasons = []
        for source in card.sources:
            try:
                facts, partial = _from_source(card, source, library, progress)
            except _UnusableError as error:
                reasons.append(f"{source.repo}: {error}")
                continue
            if card.sha256 is None:
                library.record(card, facts, f"{source.repo}@{source.revision}/{source.file}")
            os.replace(partial, final)
            for stale in partial.parent.glob(f"{glob.escape(card.file)}.*.part"):
                stale.unlink(missing_ok=True)
            return final
        raise HubError(_by_hand(card, folder, "; ".join(reasons)))


@contextlib.contextmanager
def _alone(path: Path, tick: Callable[[], None]) -> Iterator[None]:
    """Hold a lock between processes, waiting with `tick`; where the disk has no locks, go on.

    Without a lock two downloads may spoil each other's partial file, which the hash notices.
    """
    lock = filelock.FileLock(path)
    try:
        while True:
            try:
                lock.acquire(timeout=0.1)
                break
            except filelock.Timeout:
                tick()
            except NotImplementedError:
                break
        yield
    finally:
        lock.release()


def _from_source(
    card: ModelCard, source: Source, library: Library, progress: Progress
) -> tuple[Facts, Path]:
    """The checked partial file of `card` from one source, ready for its final name."""
    expected = library.facts(card)
    done = [0, expected.size or 0]

    def tick() -> None:
        progress(*done)

    while True:
        try:
            location, headers, published = _ask(source, tick)
        except TransferError as error:
            raise (_UnusableError(error) if error.status in GONE else error) from error
        for name in ("size", "sha256"):
            want, got = getattr(expected, name), getattr(published, name)
            if None not in (want, got) and want != got:
                raise _UnusableError(f"it holds another file there ({name} {got}, {want} expected)")
        size, sha256 = expected.size or published.size, expected.sha256 or published.sha256
        done[1] = size or 0
        partial = library.private(card, f"{(sha256 or source.revision)[:12]}.part")
        _need_space(partial, size)
        had = done[0] = _size(partial)

        def follow(partial: Path = partial) -> None:
            done[0] = _size(partial)
            tick()

        try:
            trusted = os.environ.get("REQUESTS_CA_BUNDLE")
            download(location, headers, partial, size, follow, trusted)
            break
        except TransferError as error:
            if error.status == 416:
                partial.unlink(missing_ok=True)
            if error.status not in GONE:
                raise
            # Addresses are signed for a while; a slow download may outlive its own.
            if _size(partial) <= had:
                raise _UnusableError(error) from error
    seen = Facts(partial.stat().st_size, sha256_of(partial, tick))
    if sha256 not in (None, seen.sha256) or size not in (None, seen.size):
        partial.unlink()
        raise _UnusableError(
            f"what arrived is not the file ({seen.size} bytes, sha256 {seen.sha256}; expected "
            f"{size} bytes, sha256 {sha256}) and was deleted"
        )
    return seen, partial


def _ask(source: Source, tick: Callable[[], None]) -> tuple[str, dict[str, str], Facts]:
    """Where the bytes of `source` are, the headers to send there, and what the Hub says they are.

    A stored token that the Hub no longer accepts must not hide a public file: asked again without.
    """
    try:
        return _ask_with(source, None, tick)
    except TransferError as error:
        if error.status != 401 or not _authorization(None):
            raise
        return _ask_with(source, False, tick)


def _ask_with(
    source: Source, token: bool | None, tick: Callable[[], None]
) -> tuple[str, dict[str, str], Facts]:
    import huggingface_hub

    url = address(source)

    def metadata():
        try:
            yield huggingface_hub.get_hf_file_metadata(url, token=token)
        except Exception as error:  # its HTTP client, and so the exceptions, differ by version
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            wait = retry_after(getattr(response, "headers", None))
            said = str(error).strip().split("\n")[0]
            raise TransferError(f"{type(error).__name__}: {said}", status, wait) from error

    def ask():
        with contextlib.closing(in_background(metadata, tick)) as answers:
            return next(answers)

    found = patiently(ask, tick)
    if found.commit_hash not in (None, source.revision):
        raise TransferError(f"the Hub answered with commit {found.commit_hash}", 404)
    etag = (found.etag or "").strip('"')
    facts = Facts(found.size, etag if _SHA256.fullmatch(etag) else None)
    same_host = urlsplit(found.location).netloc == urlsplit(url).netloc
    return found.location, _authorization(token) if same_host else {}, facts


def _authorization(token: bool | None) -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers

    headers = {key.lower(): value for key, value in build_hf_headers(token=token).items()}
    return {"Authorization": headers["authorization"]} if "authorization" in headers else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _need_space(partial: Path, size: int | None) -> None:
    need = max(0, (size or 0) - _size(partial)) + SPARE
    free = shutil.disk_usage(partial.parent).free
    if free < need:
        raise OSError(
            f"{partial.parent.parent} has {free >> 20} MB free and the file needs {need >> 20} MB"
        )
