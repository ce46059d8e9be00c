"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

#: Letters of a name that its partial file repeats: with them all it could become too long.
_SHOWN = 40

#: What helps where neither space nor another folder does.
_REMEDIES = {errno.ENAMETOOLONG: "choose a shorter name"}


class PictureError(Exception):
    """A photo cannot be read or written; the message says why and what to do."""


def save(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: beside its place first, then moved there.

    Raises:
        PictureError: the folder cannot be written, the disk is full.
    """
    part = path.with_name(f".{path.name[:_SHOWN]}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        _discard(part)
        remedy = _REMEDIES.get(error.errno, "free some space or choose another folder")
        raise PictureError(f"{path}: cannot be written: {error.strerror}; {remedy}") from error
    except BaseException:
        _discard(part)
        raise


def _discard(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:  # a folder that cannot be written cannot hold a part either
        return
