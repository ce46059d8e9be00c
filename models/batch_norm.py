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
    without_affine: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """`state` with each batch norm multiplied into the layer before it, which gains a bias.

    Args:
        state: published names and weights.
        layer_of: name of the layer a batch norm follows directly, or None where it must stay (it
            follows an activation, or its input is read by somebody else as well).
        eps: of the batch norms.
        without_affine: names of batch norms that have statistics only.

    Returns:
        A new dict; tensors that are not folded are shared with `state`.

    Raises:
        RuntimeError: a folded batch norm or its layer lacks a key, or one has the wrong length.
    """
    norms = {key.rpartition(".")[0] for key in state if key.endswith(_STATISTICS)}
    folded = dict(state)
    for norm in sorted(norms):
        layer = layer_of(norm)
        if layer is None:
            continue
        affine = () if norm in without_affine else ("weight", "bias")
        names = [f"{norm}.{leaf}" for leaf in (*_STATISTICS, *affine)]
        missing = [key for key in (f"{layer}.weight", *names) if key not in state]
        if missing:
            raise RuntimeError(
                f"Missing key(s) in state_dict: {', '.join(missing)} (batch norm {norm} of {layer})"
            )
        weight = state[f"{layer}.weight"]
        for key in names:
            if state[key].shape != weight.shape[:1]:
                raise RuntimeError(
                    f"size mismatch for {key}: {tuple(state[key].shape)} in the file, but "
                    f"{tuple(weight.shape[:1])} expected for {layer}.weight of "
                    f"{tuple(weight.shape)}"
                )
        mean, variance, *rest = (folded.pop(key).double() for key in names)
        folded.pop(f"{norm}.num_batches_tracked", None)
        gain, shift = rest or (torch.ones_like(mean), torch.zeros_like(mean))
        gain = gain / torch.sqrt(variance + eps)
        before = folded.get(f"{layer}.bias", torch.zeros_like(mean)).double()
        scaled = weight.double() * gain.view(-1, *[1] * (weight.dim() - 1))
        folded[f"{layer}.weight"] = scaled.to(weight.dtype)
        folded[f"{layer}.bias"] = (shift + (before - mean) * gain).to(weight.dtype)
    return folded
