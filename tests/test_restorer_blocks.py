"""Blocks of the restorers against the plain form they are derived from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kintsugi.models import codeformer, gpen, hdit, hifacegan, neighbourhood, stylegan2, swinir
from kintsugi.models.upsample import UpsampleConv
from kintsugi.models.vqgan import Attention, Downsample, ResBlock


@pytest.fixture(autouse=True)
def _no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def randomise(module: nn.Module) -> nn.Module:
    """`module` with normal weights, and with positive variances."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            tensor.normal_(0, 1)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module.eval()


def modulated(x, weight, scale, demodulate, convolve):
    """StyleGAN2 as published: a kernel for each sample."""
    out = []
    for sample, factors in zip(x, scale, strict=True):
        kernel = weight * factors.view(1, -1, 1, 1)
        if demodulate:
            kernel = kernel * torch.rsqrt(kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        out.append(convolve(sample[None], kernel))
    return torch.cat(out)


def enlarged(x, kernel):
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return F.conv2d(x, kernel, padding=1)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("side", [2, 16])
@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_that_of_one_kernel_a_sample(count, side, up):
    kind = stylegan2.ModulatedBilinearConv if up else stylegan2.ModulatedConv
    layer = randomise(kind(6, 5, 7))
    layer.fold()
    x, style, bias = torch.randn(count, 6, side, side), torch.randn(count, 7), torch.randn(5)
    plain = enlarged if up else lambda x, kernel: F.conv2d(x, kernel, padding=1)
    want = modulated(x, layer.weight, layer.modulation(style), True, plain)
    want = want * 2**0.5 + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(layer(x, style, bias), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_equalised_enlarging_convolution_is_the_published_one(count):
    layer = randomise(gpen.EqualisedUpConv(6, 5, 7))
    taps = torch.tensor([1.0, 3, 3, 1])
    layer.blur.kernel = torch.outer(taps, taps) / 16
    weight, modulation = layer.weight / 54**0.5, layer.modulation.weight / 7**0.5
    x, style, bias = torch.randn(count, 6, 8, 8), torch.randn(count, 7), torch.randn(5)

    def published(x, kernel):
        y = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
        y = F.pad(y, (1, 1, 1, 1)).transpose(0, 1)
        return F.conv2d(y, layer.blur.kernel[None, None]).transpose(0, 1)

    want = modulated(x, weight, F.linear(style, modulation, layer.modulation.bias), True, published)
    want = want * 2**0.5 + bias.view(1, -1, 1, 1)
    layer.fold()
    assert want.shape == (count, 5, 16, 16)
    torch.testing.assert_close(layer(x, style, bias), want, rtol=1e-4, atol=1e-4)


def test_modulated_colours_are_not_demodulated():
    layer = randomise(stylegan2.ModulatedRGB(6, 7))
    x, style = torch.randn(3, 6, 4, 5), torch.randn(3, 7)
    want = modulated(x, layer.weight, layer.modulation(style), False, F.conv2d)
    torch.testing.assert_close(layer(x, style), want, rtol=1e-4, atol=1e-4)


def test_colours_are_enlarged_by_zeros_and_filter():
    blur = gpen.Blur()
    taps = torch.tensor([1.0, 3, 3, 1])
    blur.kernel = torch.outer(taps, taps) / 16
    x = torch.randn(2, 3, 4, 5)
    spread = torch.zeros(2, 3, 8, 10)
    spread[:, :, ::2, ::2] = x
    padded = F.pad(spread, (2, 1, 2, 1)).flatten(0, 1)[:, None]
    want = F.conv2d(padded, blur.kernel[None, None]).view(2, 3, 8, 10)
    torch.testing.assert_close(blur.enlarge(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_folded_enlargement_is_nearest_and_convolution(bias):
    layer = randomise(UpsampleConv(4, 6, bias=bias))
    x = torch.randn(2, 4, 5, 7)
    want = F.conv2d(F.interpolate(x, scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), want)
    layer.fold()
    torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 7), (7, 8), (8, 11), (16, 9), (23, 31)])
def test_neighbourhood_attention_is_the_brute_force_one(size):
    height, width = size
    q, k, v = torch.randn(3, 2, height, width, 3, 4)
    want = torch.empty_like(q)
    for y in range(height):
        for x in range(width):
            top, left = min(max(y - 3, 0), height - 7), min(max(x - 3, 0), width - 7)
            keys = k[:, top : top + 7, left : left + 7].flatten(1, 2)
            values = v[:, top : top + 7, left : left + 7].flatten(1, 2)
            weights = torch.einsum("nhd,nkhd->nhk", q[:, y, x], keys).softmax(-1)
            want[:, y, x] = torch.einsum("nhk,nkhd->nhd", weights, values)
    grid = neighbourhood.Grid.of(height, width, 7, q)
    torch.testing.assert_close(neighbourhood.attend(q, k, v, grid), want, rtol=1e-4, atol=1e-5)


def test_neighbourhood_attention_refuses_a_grid_below_its_window():
    with pytest.raises(ValueError, match="7 positions a side, got 6"):
        neighbourhood.Grid.of(8, 6, 7, torch.zeros(1))


def test_rotation_keeps_lengths_and_sees_only_distance():
    rotary = hdit.Rotary(2, 4)
    rotary.freqs = torch.rand(2, 4) * 9
    cos, sin = rotary.angles(hdit.centres(6, 6, rotary.freqs))
    assert cos.shape == (6, 6, 1, 2, 8)
    q, k = torch.randn(2, 2, 20)
    turned = [hdit.rotate(u.expand(6, 6, 1, 2, 20), (cos, sin)) for u in (q, k)]
    lengths = turned[0].norm(dim=-1)
    torch.testing.assert_close(lengths, q.norm(dim=-1).expand(6, 6, 1, 2))
    near = (turned[0][1, 2] * turned[1][3, 3]).sum(-1)
    moved = (turned[0][2, 4] * turned[1][4, 5]).sum(-1)
    torch.testing.assert_close(near, moved, rtol=1e-4, atol=1e-4)


def test_the_longer_side_of_the_grid_spans_two():
    grid = hdit.centres(2, 4, torch.zeros(1))
    torch.testing.assert_close(grid[0, :, 1], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(grid[:, 0, 0], torch.tensor([-0.25, 0.25]))


def test_patches_are_row_column_channel_and_come_back():
    x = torch.arange(2 * 4 * 6 * 3.0).view(2, 4, 6, 3)
    folded = hdit.fold_patches(x, 2)
    assert folded[0, 0, 0].tolist() == [*range(6), *range(18, 24)]
    torch.testing.assert_close(hdit.unfold_patches(folded, 2), x)


def test_windows_come_back_and_the_mask_separates_what_the_roll_joined():
    x = torch.randn(2, 16, 24, 3)
    torch.testing.assert_close(swinir.from_windows(swinir.to_windows(x), 16, 24), x)
    mask = swinir.shift_mask(16, 24, x)
    assert mask.shape == (6, 1, 64, 64)
    assert not mask[0].any()
    corner = mask[-1, 0].view(8, 8, 8, 8)
    assert not corner[:4, :4, :4, :4].any() and not corner[4:, 4:, 4:, 4:].any()
    assert (corner[:4, :, 4:] == -100).all() and (corner[:, :4, :, 4:] == -100).all()


def test_relative_positions_index_rows_before_columns():
    index = swinir.relative_index()
    assert index[0, 0] == 7 * 15 + 7 and index[8, 0] == 8 * 15 + 7 and index[0, 1] == 7 * 15 + 6


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_of_maps_is_softmax_of_scaled_products(heads):
    layer = randomise(Attention(32, heads))
    x = torch.randn(2, 32, 3, 5)
    h = layer.norm(x)
    q, k, v = (p(h).view(2, heads, 32 // heads, 15) for p in (layer.q, layer.k, layer.v))
    weights = (q.transpose(2, 3) @ k * (32 // heads) ** -0.5).softmax(-1)
    mixed = (v @ weights.transpose(2, 3)).view(2, 32, 3, 5)
    torch.testing.assert_close(layer(x), x + layer.proj_out(mixed), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("outer", [32, 64])
def test_residual_blocks_leave_their_input_alone(outer):
    layer = randomise(ResBlock(32, outer))
    x = torch.randn(1, 32, 6, 6)
    before = x.clone()
    h = layer.conv1(F.silu(F.group_norm(x, 32, layer.norm1.weight, layer.norm1.bias, 1e-6)))
    h = layer.conv2(F.silu(F.group_norm(h, 32, layer.norm2.weight, layer.norm2.bias, 1e-6)))
    want = h + (x if outer == 32 else layer.conv_out(x))
    torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-3)
    assert torch.equal(x, before)


def test_halving_looks_right_and_down():
    layer = Downsample(1)
    layer.conv.weight.zero_()[0, 0, 2, 2] = 1
    layer.conv.bias.zero_()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [10, 0, 0, 0]


def test_transformer_layer_is_torchs_attention_with_positions_on_queries_and_keys():
    layer = codeformer.TransformerLayer(16, 24)
    nn.init.normal_(layer.self_attn.in_proj_bias)
    x, position = torch.randn(3, 10, 16), torch.randn(10, 16)
    h = layer.norm1(x).transpose(0, 1)
    placed = h + position[:, None]
    want = x + layer.self_attn(placed, placed, h)[0].transpose(0, 1)
    want = want + layer.linear2(F.gelu(layer.linear1(layer.norm2(want))))
    torch.testing.assert_close(layer(x, position), want, rtol=1e-4, atol=1e-5)


def test_instance_statistics_are_carried_over():
    content, style = torch.randn(2, 3, 8, 8) * 5 + 1, torch.randn(2, 3, 8, 8) * 0.5 - 2
    out = codeformer.adaptive_instance_norm(content, style)
    torch.testing.assert_close(out.mean((2, 3)), style.mean((2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.std((2, 3)), style.std((2, 3)), rtol=1e-3, atol=1e-4)


def test_spectral_normalisation_is_torchs():
    theirs = nn.utils.spectral_norm(nn.Conv2d(4, 5, 3, padding=1))
    theirs(torch.zeros(1, 4, 3, 3))
    theirs.eval()
    ours = hifacegan.SpectralConv(4, 5, 3)
    ours.load_state_dict(theirs.state_dict())
    ours.fold()
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_folded_denormalisation_is_norm_times_gamma_plus_beta():
    layer = randomise(hifacegan.Spade(5, 4))
    x, guide = torch.randn(2, 5, 6, 6), torch.randn(2, 4, 6, 6)
    hidden = layer.mlp_shared(guide)
    want = layer.param_free_norm(x) * layer.mlp_gamma(hidden) + layer.mlp_beta(hidden)
    layer.fold()
    torch.testing.assert_close(layer(x, guide), want, rtol=1e-4, atol=1e-3)


def test_importance_pooling_is_a_weighted_mean():
    layer = randomise(hifacegan.ImportancePool(3))
    x = torch.randn(2, 3, 8, 8)
    conv, norm = layer.logit
    weight = (torch.sigmoid(norm(conv(x))) * 12).exp()
    want = F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)
    torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-4)
