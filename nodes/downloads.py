"""Tells the page how far a model's file has come, on the node that waits for it."""

from __future__ import annotations

import time

from server import PromptServer

from ..models import zoo

#: The message's name for the page.
EVENT = "kintsugi.download"

#: Seconds between two messages: often enough for the eye, seldom enough for the socket.
_EVERY = 0.25


class Download:
    """Follows one model's file, as `zoo.locate` reports on it.

    Args:
        card: the model.
        tick: told the same figures first; may raise to stop the download.
    """

    def __init__(self, card: zoo.ModelCard, tick: zoo.Progress):
        self.card, self.tick = card, tick
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Pass `done` of `total` bytes on; total 0 where the size is not known yet."""
        self.tick(done, total)
        now = time.monotonic()
        server = getattr(PromptServer, "instance", None)
        node = getattr(server, "last_node_id", None)
        if node is None or (now < self._next and done != total):
            return
        self._next = now + _EVERY
        message = {"node": node, "model": self.card.name, "title": self.card.title}
        message |= {"done": done, "total": total}
        server.send_sync(EVENT, message, server.client_id)
