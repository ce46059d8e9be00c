"""Hub repositories that hold several of the zoo's files, each pinned to a commit."""

from __future__ import annotations

from .card import Source

REACTOR = ("Gourieff/ReActor", "95abc98d969b47ed78e3d937192ef5f77a19010f", "dataset")
FOFR = ("fofr/comfyui", "e58fb05ba53e59feafb6939039ffa4a74a81b5cf", "model")
FOFR_DETECTION = ("fofr/comfyui", "351aff9fcb9cf347118b2a1b8228124e3119cde8", "model")
MARTINTOMOV = ("martintomov/comfy", "1d85b6851d4882d0b344642de89832d80feb6f0f", "model")
RIPPERTNT = ("rippertnt/upscale", "b06888c4e2ee586e2d6279ec0096e41dc4807d08", "model")


def at(place: tuple[str, str, str], file: str) -> Source:
    """The source of a file in one of these repositories."""
    repo, revision, repo_type = place
    return Source(repo, file, revision, repo_type)
