"""What the degradation model did to a picture, step by step, in physical units."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """One applied damage.

    kind: "blur", "motion", "defocus", "downsample", "noise", "jpeg", "pixelate", "scratches",
        "holes", "fade", "cast", "grey" or "sepia".
    values: its parameters in physical units; keys by kind:
        blur: sigma_major, sigma_minor (px), angle (degrees); motion: length (px), angle (degrees);
        defocus: radius (px); downsample: factor (>= 1, of this step); noise: sigma (0..255, of the
        whole picture), poisson (0 or 1), grey (0 or 1), grain (px, size of one noise pixel);
        jpeg: quality (1..100), block (px, size of one of its 8x8 blocks divided by 8);
        pixelate: block (px), share (0..1 of the area); scratches: count, width (px);
        holes: share (0..1 of the area); fade: contrast (0..1), lift (0..255);
        cast: red, green, blue (gains); grey, sepia: amount (0..1).
    """

    kind: str
    values: dict[str, float]


@dataclass
class Record:
    """What was applied, in order, and where content is lost for good.

    hole_mask: (H, W) bool, True under holes and opaque scratches.
    """

    hole_mask: NDArray[np.bool_]
    steps: list[Step] = field(default_factory=list)

    def add(self, kind: str, **values: float) -> None:
        """Append one step."""
        self.steps.append(Step(kind, {name: float(value) for name, value in values.items()}))

    def of(self, *kinds: str) -> list[dict[str, float]]:
        """Values of every step of these kinds, in order."""
        return [step.values for step in self.steps if step.kind in kinds]

    def summary(self) -> dict[str, float]:
        """One figure a damage, 0 (1 for `resolution`, 100 for `jpeg_quality`) where absent.

        blur_sigma: standard deviation of the equivalent Gaussian, px (variances added, both axes
            averaged: length^2/12 for motion, radius^2/4 for defocus);
        resolution: smallest side the picture went through over its full side, 0..1;
        noise_sigma: root sum of squares, 0..255, as it was added (later blur softens it);
        jpeg_quality: the worst; pixel_block: px; scratch_count; hole_share: 0..1 of the area
            without content; contrast_loss, cast, grey: 0..1.
        """
        variance = sum((v["sigma_major"] ** 2 + v["sigma_minor"] ** 2) / 2 for v in self.of("blur"))
        variance += sum(v["length"] ** 2 / 24 for v in self.of("motion"))
        variance += sum(v["radius"] ** 2 / 4 for v in self.of("defocus"))
        noise = sum(v["sigma"] ** 2 for v in self.of("noise"))
        gains = self.of("cast")
        return {
            "blur_sigma": float(np.sqrt(variance)),
            "resolution": 1.0 / max([v["total"] for v in self.of("downsample")], default=1.0),
            "noise_sigma": float(np.sqrt(noise)),
            "jpeg_quality": min([v["quality"] for v in self.of("jpeg")], default=100.0),
            "pixel_block": max([v["block"] for v in self.of("pixelate")], default=0.0),
            "scratch_count": sum(v["count"] for v in self.of("scratches")),
            "hole_share": float(self.hole_mask.mean()),
            "contrast_loss": max([1 - v["contrast"] for v in self.of("fade")], default=0.0),
            "cast": max([max(v.values()) - min(v.values()) for v in gains], default=0.0),
            "grey": max([v["amount"] for v in self.of("grey", "sepia")], default=0.0),
        }
