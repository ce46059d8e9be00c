"""What the page may ask of the server: which models there are. Read only, nothing is fetched."""

from __future__ import annotations

import asyncio

from aiohttp import web
from server import PromptServer

from ..models import zoo
from ..models.store import Entry, entries
from ..stages import embedders
from .folders import model_folders

#: The address, also below /api where the page asks.
MODELS = "/kintsugi/models"


def register_routes() -> None:
    """Add the routes to ComfyUI's server, where there is one."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.get(MODELS)(models)


async def models(request: web.Request) -> web.Response:
    """GET /kintsugi/models: every model of the zoo, where its file is and what it may be used for.

    The folders are walked on another thread: they may be large, or on a slow network disk.
    """
    return web.json_response(await asyncio.to_thread(overview))


def overview() -> dict:
    """The zoo as it stands on this disk.

    Returns:
        models: one entry each, in the zoo's order, see `describe`. auto: what "auto" stands for
        among the restorers and the embedders, with any licence and with those for commercial use
        only; in other menus it is the pack's own model or the first on disk.
    """
    library = zoo.Library(model_folders())
    auto = {
        key: [
            zoo.best_restorer(library, commercial_only=commercial).name,
            embedders.choose("auto", commercial, library).name,
        ]
        for key, commercial in (("any", False), ("commercial", True))
    }
    return {"models": [describe(entry) for entry in entries(library)], "auto": auto}


def describe(entry: Entry) -> dict:
    """One model for the page.

    `state` is "built in", "on disk", "download" (fetched on first use), "by hand" (on no hub) or
    "refused" (a file by its name that cannot be it; `note` says why and what to do). `size` is in
    bytes, None where nobody published it.
    """
    card = entry.card
    if not entry.good:
        state = "refused"
    elif entry.path is not None:
        state = "built in" if card.builtin else "on disk"
    else:
        state = "download" if card.sources else "by hand"
    size = card.size
    if size is None and entry.path is not None:
        size = entry.path.stat().st_size
    return {
        "name": card.name,
        "title": card.title,
        "kind": card.kind,
        "state": state,
        "size": size,
        "licence": card.weights_license,
        "commercial": card.commercial,
        "reason": card.reason,
        "page": card.page,
        "file": card.file,
        "folder": card.folder,
        "note": entry.note,
    }
