"""From a state dict to a network: recognised by its keys, sized by its shapes, loaded strictly."""

from __future__ import annotations

import torch
from torch import nn

from . import (
    adaface,
    arcface,
    bisenet,
    codeformer,
    facenet,
    gfpgan,
    parsenet,
    restoreformer,
    retinaface,
    yunet,
)
from .architecture import Architecture, StateDict
from .weights_file import WeightsError as WeightsError
from .weights_file import load_file as load_file

#: Tried in order. One line a network: add the module's ARCHITECTURE here.
ARCHITECTURES: tuple[Architecture, ...] = (
    codeformer.ARCHITECTURE,
    retinaface.ARCHITECTURE,
    arcface.ARCHITECTURE,
    adaface.ARCHITECTURE,
    facenet.ARCHITECTURE,
    gfpgan.ARCHITECTURE,
    bisenet.ARCHITECTURE,
    parsenet.ARCHITECTURE,
    yunet.ARCHITECTURE,
    restoreformer.ARCHITECTURE,
)

#: Keys under which published checkpoints keep their weights, the best first.
OUTER_KEYS = ("params_ema", "params", "state_dict", "net_state_dict", "model")

#: Prefixes put before every key by wrappers of training frameworks.
PREFIXES = ("module.", "vqvae.", "model.net.")

#: What RestoreFormer's training leaves beside its `vqvae.` network.
TRAINING_KEYS = ("loss.", "discriminator.")


class UnknownArchitectureError(ValueError):
    """No entry of ARCHITECTURES has all its keys in the state dict."""


def unwrap(checkpoint) -> StateDict:
    """The bare state dict inside a checkpoint: outer keys and framework prefixes removed."""
    for key in OUTER_KEYS:
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
    state = {k: v for k, v in checkpoint.items() if isinstance(v, torch.Tensor)}
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            rest = {k: v for k, v in state.items() if not k.startswith(TRAINING_KEYS)}
            if 2 * sum(key.startswith(prefix) for key in rest) > len(rest):
                state = {key.removeprefix(prefix): value for key, value in rest.items()}
    return state


def build(state_dict: StateDict) -> nn.Module:
    """The network of a state dict, weights in it, in eval mode.

    Args:
        state_dict: a published checkpoint as loaded, outer keys and prefixes included.

    Returns:
        The module on the CPU, in the dtype of the weights; its parameters share their memory.

    Raises:
        UnknownArchitectureError: no known architecture has these keys.
        RuntimeError: a key is missing, left over or of another shape; named in the message.
    """
    state = unwrap(state_dict)
    for architecture in ARCHITECTURES:
        if architecture.matches(state):
            return _assemble(architecture, state)
    raise UnknownArchitectureError(_unknown(state))


def _assemble(architecture: Architecture, state: StateDict) -> nn.Module:
    try:
        weights = architecture.convert(state)
        with torch.device("meta"):
            network = architecture.construct(weights)
    except KeyError as error:
        raise RuntimeError(
            f"this {architecture.name} file lacks the key {error.args[0]!r}; get it anew"
        ) from error
    network.load_state_dict(weights, strict=True, assign=True)
    network.eval().requires_grad_(False)
    with torch.no_grad():
        for module in list(network.modules()):
            if callable(fold := getattr(module, "fold", None)):
                fold()
    network.requires_grad_(False)
    for key, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            raise RuntimeError(f"{architecture.name}: {key} has no values after loading")
    return network


def _unknown(state: StateDict) -> str:
    seen = ", ".join(list(state)[:5])
    tried = ", ".join(architecture.name for architecture in ARCHITECTURES)
    text = f"this file's {len(state)} keys ({seen}, ...) fit no known network; tried: {tried}"
    nearest = max(ARCHITECTURES, key=lambda a: sum(k in state for k in a.keys), default=None)
    if nearest and any(key in state for key in nearest.keys):
        lacking = ", ".join(key for key in nearest.keys if key not in state)
        text += f"; {nearest.name} is nearest, but the file lacks {lacking}"
    return text
