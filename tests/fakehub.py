"""A Hub on 127.0.0.1: what huggingface_hub and our transfer ask for, and what can go wrong.

Two servers, as in life: the Hub itself answers for names, commits and tokens and redirects large
files to a second host, which serves the bytes, whole or from an offset. Every request is noted;
a queue of faults is used up one request at a time, then everything works.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class Seen:
    """One request: which server, what was asked, from which byte, with which token."""

    host: str
    method: str
    path: str
    start: int | None
    token: str | None


@dataclass(frozen=True)
class Fault:
    """What one answer does wrong.

    status: answered instead of the file, with `headers`.
    cut: bytes after which the connection breaks.
    alter: made of the right body the one that is sent.
    pause: seconds between pieces of `piece` bytes.
    whole: a range is ignored and the whole file sent, as some mirrors do.
    location: where the Hub sends the client instead of to the second host.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    alter: Callable[[bytes], bytes] = staticmethod(lambda body: body)
    pause: float = 0.0
    piece: int = 1 << 16
    whole: bool = False
    location: str | None = None


class FakeHub:
    """Start with `with FakeHub() as hub`; then `hub.url` is an HF_ENDPOINT.

    Attributes:
        seen: every request so far.
        hub_faults, cdn_faults: used up from the front, one a request to that server.
        tokens: if a repository is named here, only this token may read it.
    """

    def __init__(self):
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.in_git: set[tuple[str, str, str]] = set()
        self.tokens: dict[str, str] = {}
        self.rejected: set[str] = set()
        self.seen: list[Seen] = []
        self.hub_faults: list[Fault] = []
        self.cdn_faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers = [_serve(self, _HubHandler), _serve(self, _BytesHandler)]
        # By two names, so that clients that look at the host alone see two hosts.
        self.url = f"http://127.0.0.1:{self._servers[0].server_address[1]}"
        self.cdn_url = f"http://localhost:{self._servers[1].server_address[1]}"

    def __enter__(self) -> FakeHub:
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def publish(self, source, body: bytes, *, in_git: bool = False) -> None:
        """Serve `body` at a card's Source; small files lie in git, others on the second host."""
        key = (PREFIXES[source.repo_type] + source.repo, source.revision, source.file)
        self.files[key] = body
        self.blobs[hashlib.sha256(body).hexdigest()] = body
        (self.in_git.add if in_git else self.in_git.discard)(key)

    def note(self, seen: Seen) -> Fault:
        """Remember a request; the fault it runs into."""
        with self._lock:
            self.seen.append(seen)
            faults = self.hub_faults if seen.host == "hub" else self.cdn_faults
            return faults.pop(0) if faults else Fault()

    def starts(self) -> list[int | None]:
        """The first byte of each request for bytes on the second host."""
        return [seen.start for seen in self.seen if seen.host == "cdn"]


def _serve(hub: FakeHub, handler: type) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    host = ""

    def log_message(self, *_) -> None:
        pass

    def begin(self) -> Fault:
        span = self.headers.get("Range")
        self.start = int(span.removeprefix("bytes=").split("-")[0]) if span else None
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        return self.hub.note(Seen(self.host, self.command, self.path, self.start, token))

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, body: bytes, headers: dict[str, str], fault: Fault) -> None:
        start = 0 if self.start is None or fault.whole else self.start
        if start and start >= len(body):
            return self.answer(416, {"Content-Range": f"bytes */{len(body)}"})
        self.send_response(206 if start else 200)
        sent = fault.alter(body)[start:]
        headers = {"Content-Length": str(len(sent)), "Accept-Ranges": "bytes", **headers}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        until = len(sent) if fault.cut is None else max(0, fault.cut - start)
        try:
            for at in range(0, min(until, len(sent)), fault.piece):
                self.wfile.write(sent[at : min(at + fault.piece, until)])
                time.sleep(fault.pause)
        except OSError:
            pass  # the client has gone, which is what some tests are about
        if until < len(sent):
            self.close_connection = True
        return None


class _HubHandler(_Handler):
    host = "hub"

    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        fault = self.begin()
        if fault.status:
            return self.answer(fault.status, fault.headers)
        path = unquote(self.path.split("?")[0]).lstrip("/")
        if path.startswith("api/"):
            return self.api(path)
        where, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        allowed = self.hub.tokens.get(where)
        token = self.hub.seen[-1].token
        if token in self.hub.rejected:
            return self.answer(
                401, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        if (allowed and token != allowed) or where not in {key[0] for key in self.hub.files}:
            # As the real one: who may not see a repository does not learn whether it is there.
            return self.answer(401, {"X-Error-Code": "RepoNotFound"})
        body = self.hub.files.get((where, revision, file))
        if body is None:
            known = (where, revision) in {key[:2] for key in self.hub.files}
            code = "EntryNotFound" if known else "RevisionNotFound"
            return self.answer(404, {"X-Error-Code": code, "X-Repo-Commit": revision})
        if (where, revision, file) in self.hub.in_git:
            blob = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
            headers = {"X-Repo-Commit": revision, "ETag": f'"{blob}"'}
            return self.send_file(body, headers, fault)
        sha256 = hashlib.sha256(body).hexdigest()
        return self.answer(
            302,
            {
                "Location": fault.location or f"{self.hub.cdn_url}/lfs/{sha256}?signature=x",
                "X-Repo-Commit": revision,
                "X-Linked-Size": str(len(body)),
                "X-Linked-ETag": f'"{sha256}"',
                "ETag": '"pointer"',
            },
        )

    def api(self, path: str) -> None:
        if path == "api/whoami-v2":
            return self.answer(200, {}, json.dumps({"name": "tester"}).encode())
        _, kind, *repo, _, revision = path.split("/")
        where = ("" if kind == "models" else kind + "/") + "/".join(repo)
        names = [file for at, commit, file in self.hub.files if (at, commit) == (where, revision)]
        if not names:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        told = {"id": where, "sha": revision, "siblings": [{"rfilename": name} for name in names]}
        return self.answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())


class _BytesHandler(_Handler):
    host = "cdn"

    def do_GET(self) -> None:  # noqa: N802
        fault = self.begin()
        if fault.status:
            return self.answer(fault.status, fault.headers)
        body = self.hub.blobs[self.path.split("?")[0].rsplit("/", 1)[1]]
        return self.send_file(body, {"ETag": '"of-the-second-host"'}, fault)
