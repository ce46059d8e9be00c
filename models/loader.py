"""From a state dict to a network: recognised by its keys, sized by its shapes, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from . import (
    adaface,
    arcface,
    awing_fan,
    bisenet,
    codeformer,
    degradation,
    detector,
    elir,
    facenet,
    gfpgan,
    gpen,
    hifacegan,
    identity,
    mobilefacenet,
    parsenet,
    pmrf,
    restoreformer,
    restorer,
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
    hifacegan.ARCHITECTURE,
    awing_fan.ARCHITECTURE,
    *mobilefacenet.ARCHITECTURES,
    gpen.ARCHITECTURE,
    elir.ARCHITECTURE,
    detector.ARCHITECTURE,
    pmrf.ARCHITECTURE,
    restorer.ARCHITECTURE,
    identity.ARCHITECTURE,
    degradation.ARCHITECTURE,
)

#: Keys under which published checkpoints keep their weights, the best first.
OUTER_KEYS = ("params_ema", "params", "state_dict", "net_state_dict", "model")

#: Prefixes put before every key by wrappers of training frameworks.
PREFIXES = ("module.", "vqvae.", "model.net.")

#: What RestoreFormer's training leaves beside its `vqvae.` network.
TRAINING_KEYS = ("loss.", "discriminator.")


#: Keys spelled out in an error; the others are counted.
NAMED = 4


class UnknownArchitectureError(ValueError):
    """No entry of ARCHITECTURES has all its keys in the state dict."""


def unwrap(checkpoint) -> StateDict:
    """The bare state dict inside a checkpoint: outer keys and framework prefixes removed."""
    for key in OUTER_KEYS:
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
    if not isinstance(checkpoint, Mapping):
        raise UnknownArchitectureError(
            f"this checkpoint holds a {type(checkpoint).__name__}, expected tensors by name"
        )
    state = {
        k: v for k, v in checkpoint.items() if isinstance(k, str) and isinstance(v, torch.Tensor)
    }
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            rest = {k: v for k, v in state.items() if not k.startswith(TRAINING_KEYS)}
            if 2 * sum(key.startswith(prefix) for key in rest) > len(rest):
                state = {key.removeprefix(prefix): value for key, value in rest.items()}
    return state


def recognise(state_dict: StateDict) -> Architecture:
    """The architecture of a published checkpoint, read off its keys.

    Raises:
        UnknownArchitectureError: no known architecture has these keys.
    """
    state = unwrap(state_dict)
    for architecture in ARCHITECTURES:
        if architecture.matches(state):
            return architecture
    raise UnknownArchitectureError(_unknown(state))


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
    return _assemble(recognise(state_dict), unwrap(state_dict))


def _assemble(architecture: Architecture, state: StateDict) -> nn.Module:
    try:
        weights = architecture.convert(state)
        with torch.device("meta"):
            network = architecture.construct(weights)
    except KeyError as error:
        raise RuntimeError(
            f"this {architecture.name} file lacks the key {error.args[0]!r}; get it anew"
        ) from error
    except (IndexError, ValueError, TypeError) as error:
        raise RuntimeError(
            f"this {architecture.name} file has a key of a shape that no such network has "
            f"({error}); get it anew"
        ) from error
    _refuse_misfit(architecture, network, weights)
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


def _refuse_misfit(architecture: Architecture, network: nn.Module, weights: StateDict) -> None:
    """Raise if the keys and shapes of `weights` are not exactly those of `network`."""
    own = network.state_dict()
    faults = (
        ("lacks", [key for key in own if key not in weights]),
        ("has beyond it", [key for key in weights if key not in own]),
        (
            "has in another shape",
            [
                f"{key} {tuple(weights[key].shape)} for {tuple(own[key].shape)}"
                for key in own
                if key in weights and weights[key].shape != own[key].shape
            ],
        ),
    )
    text = "; ".join(f"{fault} {_some(keys)}" for fault, keys in faults if keys)
    if text:
        raise RuntimeError(f"this {architecture.name} file does not fit: it {text}; get it anew")


def _some(keys: list[str]) -> str:
    """The first keys by name, the others by number."""
    rest = len(keys) - NAMED
    return ", ".join(keys[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _unknown(state: StateDict) -> str:
    seen = ", ".join(list(state)[:5])
    tried = ", ".join(architecture.name for architecture in ARCHITECTURES)
    text = f"this file's {len(state)} keys ({seen}, ...) fit no known network; tried: {tried}"
    nearest = max(ARCHITECTURES, key=lambda a: sum(k in state for k in a.keys), default=None)
    if nearest and any(key in state for key in nearest.keys):
        lacking = ", ".join(key for key in nearest.keys if key not in state)
        text += f"; {nearest.name} is nearest, but the file lacks {lacking}"
    return text
