"""PMRF: the posterior mean of a face, then a rectified flow from it to the sharp ones.

Paper: Ohayon, Michaeli, Elad, "Posterior-Mean Rectified Flow: Towards Minimum MSE Photo-Realistic
Image Restoration", ICLR 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .flow import check_flow, noisy_start
from .hdit import HDiT
from .swinir import WINDOW, SwinIR

#: Euler steps of the published evaluation.
STEPS = 25
#: Side of the faces it was trained on.
SIDE = 512
#: Metrics of the training class, and tables that follow from the window's size.
DERIVED = ("fid.", "inception_score.")
TABLES = (".attn_mask", ".relative_position_index")


class PMRF(nn.Module):
    """The network: `mmse_model` estimates the mean, `model` is the flow's velocity."""

    def __init__(self, mean: SwinIR, flow: HDiT) -> None:
        super().__init__()
        self.model = flow
        self.mmse_model = mean

    def fresh_noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise for `count` faces of the trained size, drawn on the CPU."""
        like = self.mmse_model.conv_last.weight
        return torch.randn((count, 3, SIDE, SIDE), generator=generator).to(like)

    def forward(self, image: Tensor, noise: Tensor | None = None, steps: int = STEPS) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, S, S), RGB in [0, 1], S a multiple of 64; trained at 512.
            noise: unit normal of the image's shape, the start's random part; None is none of it,
                which gives the smoothest result.
            steps: Euler steps of the flow, at least 1.

        Returns:
            (N, 3, S, S), RGB in [0, 1], not clamped.

        Raises:
            ValueError: a side is not a multiple of 64, the noise is of another shape, or there
                are no steps.
        """
        check_flow(image, steps, multiple=8 * WINDOW)
        x = self.mmse_model(image.contiguous(memory_format=torch.channels_last)).clamp_(0, 1)
        x = noisy_start(x, noise)
        prepared = self.model.prepare(x)
        for step in range(steps):
            x = torch.add(x, self.model(x, step / steps, prepared), alpha=1 / steps)
        return x


def convert(state: StateDict) -> StateDict:
    """Published names without metrics and without tables that are computed here."""
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(DERIVED) and not key.endswith(TABLES)
    }


def construct(state: StateDict) -> PMRF:
    """Widths, depths and heads off the shapes."""
    return PMRF(_mean(state), _flow(state))


def _mean(state: StateDict) -> SwinIR:
    first = "mmse_model.layers.0.residual_group.blocks.0."
    hidden, width = state[first + "mlp.fc1.weight"].shape
    groups = range(sequence_length(state, "mmse_model.layers"))
    return SwinIR(
        width=width,
        heads=state[first + "attn.relative_position_bias_table"].shape[1],
        hidden=hidden,
        groups=[
            sequence_length(state, f"mmse_model.layers.{i}.residual_group.blocks") for i in groups
        ],
        features=state["mmse_model.conv_last.weight"].shape[1],
    )


def _flow(state: StateDict) -> HDiT:
    local = range(sequence_length(state, "model.down_levels"))
    firsts = [f"model.down_levels.{i}.0." for i in local] + ["model.mid_level.0."]
    condition_hidden = state["model.mapping.blocks.0.down_proj.weight"].shape[1]
    return HDiT(
        widths=[state[f + "self_attn.out_proj.weight"].shape[0] for f in firsts],
        hidden=[state[f + "ff.down_proj.weight"].shape[1] for f in firsts],
        heads=[state[f + "self_attn.scale"].shape[0] for f in firsts],
        down=[sequence_length(state, f"model.down_levels.{i}") for i in local],
        up=[sequence_length(state, f"model.up_levels.{i}") for i in local],
        middle=sequence_length(state, "model.mid_level"),
        frequencies=state["model.mid_level.0.self_attn.pos_emb.freqs"].shape[1],
        condition=state["model.time_in_proj.weight"].shape[0],
        condition_hidden=condition_hidden,
        mapping=sequence_length(state, "model.mapping.blocks"),
        augmentation=state["model.aug_emb.weight"].shape[1],
        patch=round((state["model.patch_in.proj.weight"].shape[1] / 3) ** 0.5),
    )


ARCHITECTURE = Architecture(
    name="pmrf",
    keys=("model.patch_in.proj.weight", "mmse_model.conv_first.1.weight"),
    construct=construct,
    convert=convert,
)
