"""What the restorer is trained for."""

import pytest
import torch
import torch.nn.functional as F

from kintsugi.training.losses import texture


def skin(seed: int) -> torch.Tensor:
    """(1, 3, 128, 128) in [-1, 1], texture of one kind, elsewhere for each seed."""
    noise = torch.randn(1, 1, 132, 132, generator=torch.Generator().manual_seed(seed))
    return (0.3 * F.avg_pool2d(noise, 5, 1)).expand(-1, 3, -1, -1)


def test_faint_detail_is_asked_for_at_full_strength():
    clean = skin(0)
    assert float(texture(clean, clean)) == 0
    assert 0 < float(texture(0.8 * clean, clean)) < float(texture(0.5 * clean, clean))


def test_detail_that_is_not_there_is_not_asked_for():
    clean = skin(0)
    asked = float(texture(0.5 * clean, clean))
    assert float(texture(0.5 * skin(1), clean)) < 0.15 * asked
    assert float(texture(torch.zeros_like(clean), clean)) == 0


@pytest.mark.parametrize("period", [4, 8])
def test_it_pulls_towards_detail_and_not_towards_a_grid(period):
    clean = skin(0)
    fine = clean - F.avg_pool2d(clean, 5, 1, 2)
    soft = (clean - 0.7 * fine).requires_grad_(True)
    texture(soft, clean).sum().backward()
    grid = torch.zeros_like(clean)
    grid[..., ::period], grid[..., ::period, :] = 1, 1
    grid -= grid.mean()
    towards, across = (float((soft.grad * way).sum() / way.norm()) for way in (fine, grid))
    assert towards < 0 and abs(across) < 0.1 * abs(towards)


def test_texture_is_judged_picture_by_picture():
    pair = torch.cat([0.5 * skin(1), skin(2)]), torch.cat([skin(1), skin(2)])
    told = texture(*pair)
    assert told.shape == (2,) and float(told[1]) == 0 and float(told[0]) > 0
