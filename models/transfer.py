"""Bytes over HTTP into a partial file: resumed, retried, watched, stopped at once when asked.

huggingface_hub knows the addresses, the token and the mirror; the bytes are read here, because its
own download (since 1.x) deletes what it has when the connection breaks, and because only the reader
of the stream can report progress and stop in the middle of a chunk on every version in use.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.client
import os
import queue
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

#: Seconds before each new attempt; one attempt more than waits, counted anew after new bytes.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: A server that asks for more patience than this is reported instead of obeyed, seconds.
LONGEST_WAIT = 120.0

#: Seconds without a byte after which a connection counts as dead.
SILENCE = 30.0

#: Seconds between two looks at the stop button.
TICK = 0.1

CHUNK = 1 << 18

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

Tick = Callable[[], None]


class TransferError(OSError):
    """Bytes did not arrive.

    status: the HTTP status that the server answered with, None where there was no answer.
    retry_after: seconds the server asked to wait, None where it did not say.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds of a Retry-After header, given as a number or as a date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After") if headers else None
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def patiently(attempt: Callable[[], object], tick: Tick, moved: Callable[[], object] = int):
    """What `attempt` returns, tried again after failures that may pass.

    Args:
        attempt: raises TransferError when it fails.
        tick: called every TICK seconds while waiting; may raise to stop.
        moved: a mark that changes when the last attempt got further; then patience starts anew.

    Raises:
        TransferError: of the last attempt.
    """
    failures, mark = 0, moved()
    while True:
        try:
            return attempt()
        except TransferError as error:
            failures, mark = (1, moved()) if moved() != mark else (failures + 1, mark)
            passing = error.status is None or error.status in PASSING
            wait = error.retry_after
            if not passing or failures > len(WAITS) or (wait or 0) > LONGEST_WAIT:
                raise
            until = time.monotonic() + (WAITS[failures - 1] if wait is None else wait)
        while (left := until - time.monotonic()) > 0:
            tick()
            time.sleep(min(TICK, left))


def in_background(produce: Callable[[], Iterable], tick: Tick) -> Iterator:
    """What `produce` yields, from a thread of its own, calling `tick` while nothing comes.

    A blocked socket cannot be asked to stop; its thread is left to its timeout instead, while the
    caller is gone with the exception that `tick` raised.
    """
    items: queue.Queue = queue.Queue(maxsize=8)
    gone = threading.Event()

    def put(item) -> None:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=TICK)
                return

    def work() -> None:
        try:
            for item in produce():
                put((item, None, False))
                if gone.is_set():
                    return
            put((None, None, True))
        except BaseException as error:  # handed to the caller, whatever it is
            put((None, error, True))

    threading.Thread(target=work, daemon=True, name="kintsugi-transfer").start()
    try:
        while True:
            try:
                item, error, last = items.get(timeout=TICK)
            except queue.Empty:
                tick()
                continue
            if error is not None:
                raise error
            if last:
                return
            yield item
    finally:
        gone.set()


def download(
    url: str,
    headers: Mapping[str, str],
    partial: Path,
    size: int | None,
    tick: Tick,
    trusted: str | None = None,
) -> None:
    """Fill `partial` with the bytes of `url`, going on where it stops.

    Args:
        url: address of the bytes.
        headers: sent to that address, not to where it redirects.
        partial: the file; missing or holding the beginning of what is fetched.
        size: bytes in all; None where unknown.
        tick: called often; may raise to stop, which keeps the partial file.
        trusted: a file of certificates that are trusted too.

    Raises:
        TransferError: the bytes did not all arrive in the end.
    """

    def attempt() -> None:
        done = _size(partial)
        if size is not None and done > size:
            partial.unlink()
            done = 0
        if size is not None and done == size and done:
            return
        stream = in_background(lambda: _stream(url, headers, done, trusted), tick)
        with partial.open("ab") as file, contextlib.closing(stream) as chunks:
            for start, chunk in chunks:
                if start != file.tell():
                    file.truncate(start)
                    file.seek(start)
                file.write(chunk)
                file.flush()
                tick()
            os.fsync(file.fileno())
        if size is not None and _size(partial) != size:
            seen = _size(partial)
            if seen > size:
                partial.unlink()
            raise TransferError(f"the connection ended after {seen} of {size} bytes")

    patiently(attempt, tick, lambda: _size(partial))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _stream(
    url: str, headers: Mapping[str, str], done: int, trusted: str | None
) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each chunk of `url`, from `done` on or, if refused, from 0."""
    if not url.startswith(("http://", "https://")):  # urllib would read local files too
        raise TransferError(f"the Hub sent us to {url[:60]!r}, which is no web address", 404)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    for key, value in headers.items():
        request.add_unredirected_header(key, value)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        with _opener(trusted).open(request, timeout=SILENCE) as response:
            at = _start(response) if done else 0
            expected = response.length
            while chunk := response.read1(CHUNK):
                yield at, chunk
                at += len(chunk)
                expected = expected - len(chunk) if expected is not None else None
            if expected:
                raise TransferError(f"the connection ended {expected} bytes too early")
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise TransferError(
                "the server has fewer bytes than were fetched before", 416
            ) from error
        raise TransferError(
            f"the server answered {error.code} {error.reason}",
            error.code,
            retry_after(error.headers),
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TransferError):
            raise
        raise TransferError(f"{type(error).__name__}: {error}") from error


def _start(response) -> int:
    """Where the answer to a ranged request begins: its Content-Range, or 0 if it was ignored."""
    if response.status != 206:
        return 0
    span = response.headers.get("Content-Range", "")
    try:
        return int(span.removeprefix("bytes ").split("-")[0])
    except ValueError:
        raise TransferError(f"the server sent a range it does not name ({span!r})") from None


@functools.cache
def _opener(trusted: str | None) -> urllib.request.OpenerDirector:
    """An opener that trusts the system's certificates, those that Python packages carry, and those
    of a file.

    Python on macOS and in some containers finds no system certificates; certifi comes with the
    HTTP clients beside us.
    """
    context = ssl.create_default_context()
    for bundle in filter(None, (trusted, _certifi())):
        if os.path.isfile(bundle):
            context.load_verify_locations(bundle)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(_proxies()), urllib.request.HTTPSHandler(context=context)
    )


def _proxies() -> dict[str, str]:
    """The proxies of the environment; ALL_PROXY too, which urllib does not know and the Hub's
    client obeys."""
    proxies = urllib.request.getproxies()
    every = proxies.pop("all", None)
    return ({"http": every, "https": every} if every else {}) | proxies


def _certifi() -> str | None:
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()
