"""Muon: momentum whose steps turn all directions of a matrix alike.

Adam scales each number of a weight on its own; the weights between hidden layers learn sooner when
the step is the orthogonal matrix nearest to the momentum, so that no few strong directions drown
the rest. Kernels count as matrices of one row an output. What reads the input or writes the output
of a network, and vectors, are for Adam. `torch.optim.Muon` takes plain matrices alone, and rounds
them to bfloat16, which the CPUs that these small networks are trained on have to emulate.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the size of
the steps from Liu et al., "Muon is scalable for LLM training", 2025.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kintsugi.training.crew import average_gradients

#: Of the polynomial whose repetition draws all singular values near 1, and how often.
_CURVE, _ROUNDS = (3.4445, -4.775, 2.0315), 5

#: Root mean square of a step in units of the rate, about that of Adam's.
_STEP = 0.2


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) to about the nearest matrix with orthogonal rows, or columns if m is larger."""
    first, third, fifth = _CURVE
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = wide @ wide.T
        wide = first * wide + (third * square + fifth * square @ square) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


class Muon(torch.optim.Optimizer):
    """Steps of `orthogonal` momentum, as large as Adam's at the same rate.

    Args:
        weights: parameters of two dimensions and more, (outputs, ...).
        lr: learning rate. momentum: of Nesterov's kind. weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.02,
    ):
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One step of all weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(mean, group["momentum"]).flatten(1)
                turned = orthogonal(ahead) * (_STEP * max(ahead.shape) ** 0.5)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(turned.reshape(weight.shape), alpha=-group["lr"])


def optimisers(
    named: Iterable[tuple[str, nn.Parameter]], outer: tuple[str, ...], decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of hidden layers, AdamW for the other weights.

    Args:
        named: names and parameters. outer: how the names begin of what reads the input, writes the
            output or is no weight between layers. decay: decoupled decay of all weights.
    """
    named = list(named)
    hidden = {name for name, value in named if value.ndim > 1 and not name.startswith(outer)}
    muon = Muon((value for name, value in named if name in hidden), weight_decay=decay)
    others = [value for name, value in named if name not in hidden]
    return [torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=decay), muon]


def take_step(
    network: nn.Module,
    both: list[torch.optim.Optimizer],
    loss: Tensor,
    speed: float,
    largest: float = 1.0,
) -> None:
    """One step of all optimisers down the gradient of `loss`, at the learning rate `speed`.

    Processes that learn together take the same one. Gradients longer than `largest` over all
    weights are shortened to it.
    """
    for optimiser in both:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(network)
    nn.utils.clip_grad_norm_(network.parameters(), largest)
    for optimiser in both:
        for group in optimiser.param_groups:
            group["lr"] = speed
        optimiser.step()
