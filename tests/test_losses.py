"""What the restorer is trained for."""

import torch
import torch.nn.functional as F

from kintsugi.training.losses import texture


def skin(seed: int) -> torch.Tensor:
    """(1, 3, 128, 128) in [-1, 1], texture of one kind, elsewhere for each seed."""
    noise = torch.randn(1, 1, 132, 132, generator=torch.Generator().manual_seed(seed))
    return (0.3 * F.avg_pool2d(noise, 5, 1)).expand(-1, 3, -1, -1)


def test_texture_need_not_lie_where_it_lay():
    clean = skin(0)
    assert float(texture(clean, clean)) == 0
    bare = float(texture(torch.zeros_like(clean), clean))
    assert float(texture(skin(1), clean)) < 0.35 * bare


def test_a_grid_is_no_texture():
    clean = skin(0)
    grid = torch.zeros_like(clean)
    grid[..., ::4], grid[..., ::4, :] = 1, 1
    grid = (grid - grid.mean()) * clean.std() / grid.std()  # as much energy
    bare = float(texture(torch.zeros_like(clean), clean))
    assert float(texture(grid, clean)) > 0.9 * bare


def test_texture_is_judged_picture_by_picture():
    pair = torch.cat([skin(0), skin(2)]), torch.cat([skin(1), skin(2)])
    told = texture(*pair)
    assert told.shape == (2,) and float(told[1]) == 0 and float(told[0]) > 0
