"""Batch norms folded into the convolution or linear layer before them.

At inference a batch norm is a scale and a shift per channel; multiplied into the weights before it
they cost nothing. The arithmetic is done in float64, so the result differs by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .architecture import StateDict

_STATISTICS = ("running_mean", "running_var")


def preceding(norm: str) -> str:
    """The usual name of the layer before a batch norm: `0` for `1`, `conv2` for `bn2`.

    >>> preceding("body.layer1.0.downsample.1"), preceding("cp.arm16.bn_atten")
    ('body.layer1.0.downsample.0', 'cp.arm16.conv_atten')
    """
    path, _, leaf = norm.rpartition(".")
    leaf = str(int(leaf) - 1) if leaf.isdigit() else leaf.replace("bn", "conv")
    return f"{path}.{leaf}" if path else leaf


def fold_batch_norms(
    state: StateDict,
    layer_of: Callable[[str], str | None] = preceding,
    *,
    eps: float = 1e-5,
    biased: Callable[[str], bool] = lambda layer: False,
    without_affine: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """`state` with each batch norm multiplied into the layer before it, which gains a bias.

    Args:
        state: published names and weights.
        layer_of: name of the layer a batch norm follows directly, or None where it must stay (it
            follows an activation, or its input is read by somebody else as well).
        eps: of the batch norms.
        biased: whether a layer has a bias of its own in the file.
        without_affine: names of batch norms that have statistics only.

    Returns:
        A new dict; tensors that are not folded are shared with `state`.

    Raises:
        RuntimeError: a folded batch norm or its layer lacks a key, has one too many, or one of the
            wrong length.
    """
    norms = {key.rpartition(".")[0] for key in state if key.endswith(_STATISTICS)}
    folded = dict(state)
    for norm in sorted(norms):
        layer = layer_of(norm)
        if layer is None:
            # Files written before PyTorch 0.4.1 have no counter; nothing reads it at inference.
            folded.setdefault(f"{norm}.num_batches_tracked", torch.zeros((), dtype=torch.long))
            continue
        affine = () if norm in without_affine else ("weight", "bias")
        names = [f"{norm}.{leaf}" for leaf in (*_STATISTICS, *affine)]
        bias = f"{layer}.bias"
        names += [bias] if biased(layer) else []
        missing = [key for key in (f"{layer}.weight", *names) if key not in state]
        if missing:
            raise RuntimeError(f"the file lacks {', '.join(missing)}; get it anew")
        if bias in state and bias not in names:
            raise RuntimeError(f"the file has {bias}, which no such network has; get it anew")
        weight = state[f"{layer}.weight"]
        for key in names:
            if state[key].shape != weight.shape[:1]:
                raise RuntimeError(
                    f"the file has {key} of shape {tuple(state[key].shape)}, but {layer}.weight of "
                    f"{tuple(weight.shape)}; get it anew"
                )
        values = {key: folded.pop(key).double() for key in names}
        folded.pop(f"{norm}.num_batches_tracked", None)
        mean, variance = (values[f"{norm}.{leaf}"] for leaf in _STATISTICS)
        gain = values.get(f"{norm}.weight", torch.ones_like(mean)) / torch.sqrt(variance + eps)
        shift = values.get(f"{norm}.bias", torch.zeros_like(mean))
        before = values.get(bias, torch.zeros_like(mean))
        scaled = weight.double() * gain.view(-1, *[1] * (weight.dim() - 1))
        folded[f"{layer}.weight"] = scaled.to(weight.dtype)
        folded[bias] = (shift + (before - mean) * gain).to(weight.dtype)
    return folded
