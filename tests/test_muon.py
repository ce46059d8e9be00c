"""The optimiser that the built-in networks are trained with."""

import pytest
import torch
from torch import nn

from kintsugi.models.degradation import Degradation
from kintsugi.models.restorer import Restorer
from kintsugi.training import degradation
from kintsugi.training.muon import Muon, optimisers, orthogonal, take_step


@pytest.mark.parametrize("shape", [(8, 40), (40, 8)])
def test_all_directions_of_a_step_are_about_as_long(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrix[0] *= 30  # one direction far stronger than all others
    lengths = torch.linalg.svdvals(orthogonal(matrix))
    assert float(lengths.min()) > 0.5 and float(lengths.max()) < 1.3


def test_a_kernel_is_turned_as_the_matrix_of_its_outputs():
    gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    kernel, matrix = nn.Parameter(torch.zeros(6, 4, 3, 3)), nn.Parameter(torch.zeros(6, 36))
    kernel.grad, matrix.grad = gradient, gradient.flatten(1)
    Muon([kernel, matrix], lr=0.1).step()
    assert bool((kernel != 0).any())
    assert torch.equal(kernel.flatten(1), matrix)


def test_a_step_is_as_large_as_one_of_adam_at_the_same_rate():
    weight = nn.Parameter(torch.zeros(32, 64))
    weight.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(2))
    Muon([weight], lr=0.01).step()
    size = float(weight.detach().square().mean().sqrt())
    assert 0.1 * 0.01 < size < 0.01


def test_it_learns_what_adam_learns():
    torch.manual_seed(3)
    inputs = torch.randn(256, 12) * torch.logspace(0, -1, 12)
    wanted = inputs @ torch.randn(12, 5)
    network = nn.Sequential(nn.Linear(12, 24), nn.SiLU(), nn.Linear(24, 24), nn.Linear(24, 5))
    both = optimisers(network.named_parameters(), ("0", "3"), 0.0)
    losses = []
    for _ in range(300):
        loss = (network(inputs) - wanted).square().mean()
        losses.append(float(loss.detach()))
        take_step(network, both, loss, 5e-3)
    assert losses[-1] < 0.02 * losses[0]


def test_weights_at_either_end_of_the_estimator_are_left_to_adam():
    ends = {"picture.stem.weight", "picture.missing.weight", "condense.weight", "out.weight"}
    hidden = {"picture.near.0.conv.weight", "first.weight"}
    check_ends(Degradation(), degradation.OUTER, hidden, ends)


def test_weights_at_either_end_of_the_restorer_are_left_to_adam():
    pytest.importorskip("onnx", reason="onnx, used by training alone, is missing")
    from kintsugi.training.restorer import OUTER

    ends = {"stem.weight", "out.weight", "gate.weight", "condition.0.weight"}
    check_ends(Restorer(), OUTER, {"encoder.2.0.first.weight", "up.1.weight"}, ends)


def check_ends(network: nn.Module, outer: tuple, hidden: set[str], ends: set[str]) -> None:
    adam, muon = optimisers(network.named_parameters(), outer, 0.02)
    names = {value: name for name, value in network.named_parameters()}
    turned = {names[value] for group in muon.param_groups for value in group["params"]}
    others = {names[value] for group in adam.param_groups for value in group["params"]}
    assert turned | others == set(names.values()) and not turned & others
    assert hidden <= turned
    assert ends <= others
