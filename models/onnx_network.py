"""Networks published as ONNX graphs, run by onnxruntime, an optional extra."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from .weights_file import AGAIN, WeightsError

#: The package that runs them; asked for by name, so that nothing else needs it.
RUNTIME = "onnxruntime"


class RuntimeMissingError(ImportError):
    """onnxruntime is not installed; the message says how to get it."""


def installed() -> bool:
    """Whether ONNX graphs can be run here; nothing is imported."""
    return importlib.util.find_spec(RUNTIME) is not None


class OnnxNetwork:
    """A graph with one input, run on the CPU, whose answers are tensors.

    Args:
        path: the .onnx file.

    Raises:
        RuntimeMissingError: onnxruntime is not installed.
        WeightsError: the file is not a graph that onnxruntime can run.
    """

    def __init__(self, path: Path):
        try:
            runtime = importlib.import_module(RUNTIME)
        except ImportError as error:
            raise RuntimeMissingError(
                f"{path.name} is an ONNX graph and needs onnxruntime ({error}); install it with "
                "'pip install onnxruntime' (the extra kintsugi-faces[onnx]) or choose another model"
            ) from error
        try:
            self._session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no narrower base
            line = str(error).strip().split("\n")[0][:200]
            raise WeightsError(path, f"is no ONNX graph that runs here ({line})", AGAIN) from error
        source = self._session.get_inputs()[0]
        self._input, self._output = source.name, self._session.get_outputs()[0].name
        self._one_by_one = source.shape[0] == 1

    def __call__(self, image: Tensor) -> Tensor:
        """The first output (N, ...) for `image` (N, 3, H, W), both float32, on the CPU."""
        parts = image.split(1) if self._one_by_one else [image]
        answers = [
            self._session.run([self._output], {self._input: part.cpu().numpy()})[0]
            for part in parts
        ]
        return torch.cat([torch.from_numpy(answer) for answer in answers])


def load_onnx(path: Path) -> OnnxNetwork:
    """The network of an ONNX file; the last two are kept, for they take seconds to open."""
    return _opened(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _opened(path: Path, changed: int) -> OnnxNetwork:
    return OnnxNetwork(path)
