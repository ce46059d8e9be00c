"""From a weights file to its tensors, without ever running code that the file carries.

The format is read off the first bytes, for names often lie. Tensors are mapped from the disk where
the format allows it, privately: writing to them never reaches the file.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors

#: Largest pickle inside a checkpoint, bytes; it holds names and shapes, the weights lie beside it.
LARGEST_PICKLE = 64 << 20


class WeightsError(ValueError):
    """A weights file cannot be used; the message names the file, what was seen and the remedy."""

    def __init__(self, path: Path, seen: str, remedy: str):
        super().__init__(f"{path}: {seen}; {remedy}")


AGAIN = "delete it and fetch it again"


def load_file(path: str | os.PathLike):
    """What a checkpoint file holds, as saved: outer keys and prefixes included.

    Args:
        path: a safetensors file, or a file of torch.save in its zip or its older format.

    Returns:
        Tensors on the CPU, in nested dicts as the file has them.

    Raises:
        WeightsError: the file is missing, empty, cut off, of another kind, lies about its sizes, or
            carries code.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise WeightsError(path, f"cannot be read ({error.strerror})", "check the path") from error
    if size == 0:
        raise WeightsError(path, "is empty (0 bytes)", AGAIN)
    zipped, tensors = head.startswith(b"PK\x03\x04"), head[8:9] == b"{"
    torch_saved = zipped or (head.startswith(b"\x80") and not tensors)
    if torch_saved and path.suffix == ".safetensors":
        raise WeightsError(path, "is a torch checkpoint, whatever its name", "rename it to .pth")
    if zipped:
        checkpoint = _load_zip(path, size)
    elif torch_saved:
        checkpoint = _load_torch(path, mmap=False)
    elif tensors:
        checkpoint = _load_safetensors(path)
    else:
        raise WeightsError(path, _nature(path, head, size), AGAIN)
    for name, tensor in _tensors(checkpoint):
        if tensor.numel() * tensor.element_size() > size:
            shape = tuple(tensor.shape)
            raise WeightsError(path, f"{size} bytes that claim {name} is {shape}", AGAIN)
    return checkpoint


def _load_safetensors(path: Path):
    try:
        return load_safetensors(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            path, f"has a safetensors header that is wrong ({error})", AGAIN
        ) from error


def _load_zip(path: Path, size: int):
    """A torch.save archive; anything it claims that the file cannot hold is refused unread."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise WeightsError(path, f"is cut off or damaged ({error})", AGAIN) from error
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type for entry in entries):
        raise WeightsError(
            path,
            f"is an archive of {size} bytes that claims to hold {claimed}, as no checkpoint does",
            AGAIN,
        )
    pickles = [entry.file_size for entry in entries if entry.filename.endswith(".pkl")]
    if not pickles or max(pickles) > LARGEST_PICKLE:
        raise WeightsError(path, "is an archive, but not one of torch.save", AGAIN)
    return _load_torch(path, mmap=True)


def _load_torch(path: Path, mmap: bool):
    try:
        return torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        said = str(error).rpartition("WeightsUnpickler error:")[2]
        line = next((line.strip() for line in said.split("\n") if line.strip()), "")
        raise WeightsError(
            path,
            f"is a pickle that wants to run code or is damaged ({line[:200]})",
            "it was not run; use a safetensors file, or the file its authors published",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # its readers raise nearly anything on broken bytes
        line = str(error).strip().split("\n")[0][:200]
        raise WeightsError(path, f"is cut off or damaged ({line})", AGAIN) from error


def _tensors(checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dicts and lists, by its path of keys; they may hold each other."""
    waiting, seen = [("", checkpoint)], set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                own = [(f"{name}.{key}" if name else str(key), own) for key, own in value.items()]
            else:
                own = [(f"{name}[{index}]", own) for index, own in enumerate(value)]
            waiting += own


def _nature(path: Path, head: bytes, size: int) -> str:
    """What a file that is no checkpoint seems to be."""
    start = head.lstrip().lower()
    if start.startswith(b"version https://"[:16]):
        return f"is a Git LFS pointer of {size} bytes, not the file it points to"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"is a web page of {size} bytes saved under this name, not weights"
    if path.suffix == ".onnx":
        return "is an ONNX graph, which onnxruntime runs, not this loader"
    return f"is neither safetensors nor a torch checkpoint (it starts with {head[:8]!r})"
