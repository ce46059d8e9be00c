"""Damage measured without a network, the yardstick a learned estimator must beat.

Each takes a picture (S, S, 3) uint8 RGB and returns one number that rises or falls with one kind of
damage; the benchmark fits a curve from it to the unit of the kind on training people.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

#: Directions in which motion is looked for, degrees.
DIRECTIONS = np.arange(0, 180, 7.5)


def _light(picture: Picture) -> NDArray[np.float32]:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)


def wavelet_noise(picture: Picture) -> float:
    """Median absolute deviation of the finest diagonal Haar band (Donoho and Johnstone 1994)."""
    light = _light(picture)
    corners = light[::2, ::2] - light[1::2, ::2] - light[::2, 1::2] + light[1::2, 1::2]
    return float(np.log(np.median(np.abs(corners / 2)) / 0.6745 + 0.1))


def laplacian(picture: Picture) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000)."""
    return float(np.log(cv2.Laplacian(_light(picture), cv2.CV_32F).var() + 0.1))


def blockiness(picture: Picture) -> float:
    """Steps at every eighth row and column over those between (Wang, Bovik and Evans 2000)."""
    light, ratios = _light(picture), []
    for turned in (light, light.T):
        step = np.abs(np.diff(turned, axis=1)).mean(0)
        edges = np.arange(len(step)) % 8 == 7
        ratios.append((step[edges].mean() + 0.05) / (step[~edges].mean() + 0.05))
    return float(np.log(np.mean(ratios)))


def cut_off(picture: Picture) -> float:
    """Frequency under which 97 % of the energy of the gradients lies, cycles a pixel."""
    light = _light(picture)
    side = light.shape[0]
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((light - light.mean()) * np.outer(window, window))) ** 2
    along = np.fft.fftfreq(side)
    radius = np.hypot(along[:, None], along)
    order = np.argsort(radius, axis=None)
    total = np.cumsum((power * radius**2).ravel()[order])
    place = np.searchsorted(total, 0.97 * total[-1])
    return float(np.log(radius.ravel()[order][min(place, total.size - 1)]))


def _directional(picture: Picture) -> NDArray[np.float64]:
    """Energy of the derivative along each of DIRECTIONS."""
    light = cv2.GaussianBlur(_light(picture), (0, 0), 0.7)
    x, y = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    xx, yy, xy = (x * x).mean(), (y * y).mean(), (x * y).mean()
    angle = np.deg2rad(DIRECTIONS)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos**2 * xx + sin**2 * yy + 2 * cos * sin * xy


def anisotropy(picture: Picture) -> float:
    """Greatest over least energy of the directional derivatives."""
    energy = _directional(picture)
    return float(np.log((energy.max() + 0.1) / (energy.min() + 0.1)))


def motion_angle(picture: Picture) -> float:
    """Direction in which the picture changes least, degrees."""
    return float(DIRECTIONS[_directional(picture).argmin()])


def mosaic(picture: Picture) -> float:
    """Period of the strongest comb in the profile of steps along rows, px."""
    profile = np.abs(np.diff(_light(picture), axis=1)).mean(0)
    power = np.abs(np.fft.rfft(profile - cv2.blur(profile, (1, 17))[:, 0]))
    first = len(profile) // 24
    return float(np.log(len(profile) / (first + power[first:].argmax())))


def range_of_light(picture: Picture) -> float:
    """Between the darkest and the lightest twentieth."""
    low, high = np.percentile(_light(picture), [5, 95])
    return float((high - low) / 255)


def grey_world(picture: Picture) -> float:
    """Difference of the channel means over their mean (Buchsbaum 1980)."""
    means = picture.reshape(-1, 3).mean(0)
    return float((means.max() - means.min()) / (means.mean() + 1))


def colourfulness(picture: Picture) -> float:
    """Mean distance from grey once the mean colour is taken off, over the deviation of light."""
    values = picture.reshape(-1, 3).astype(np.float32)
    values = values / (values.mean(0) + 1)
    return float((values - values.mean(1, keepdims=True)).std() / (values.mean(1).std() + 0.01))


def brightness(picture: Picture) -> float:
    """Mean of light, logarithm."""
    return float(np.log(_light(picture).mean() + 1))


def clipped(picture: Picture) -> float:
    """Share of values at the upper end."""
    return float(np.log((picture > 250).mean() + 0.001))


def outliers(picture: Picture) -> NDArray[np.bool_]:
    """Mask of what a median filter would remove: thin bright and dark structures (top-hat)."""
    light = _light(picture).astype(np.uint8)
    side = 2 * (light.shape[0] // 40) + 1
    return np.abs(light.astype(int) - cv2.medianBlur(light, side)) > 60


def outlying(picture: Picture) -> float:
    """Share of outliers."""
    return float(np.log(outliers(picture).mean() + 1e-4))


#: One measure for each kind of damage.
ESTIMATORS: dict[str, Callable[[Picture], float]] = {
    "blur": laplacian,
    "motion": anisotropy,
    "resolution": cut_off,
    "pixelation": mosaic,
    "noise": wavelet_noise,
    "jpeg": blockiness,
    "missing": outlying,
    "fading": range_of_light,
    "cast": grey_world,
    "grey": colourfulness,
    "underexposure": brightness,
    "overexposure": clipped,
}

#: What the tables call them.
NAMES = {
    "blur": "variance of the Laplacian",
    "motion": "directional derivatives",
    "resolution": "spectral cut-off",
    "pixelation": "comb of the steps",
    "noise": "wavelet MAD",
    "jpeg": "blockiness",
    "missing": "median top-hat",
    "fading": "range of light",
    "cast": "grey world",
    "grey": "colourfulness",
    "underexposure": "mean light",
    "overexposure": "clipped share",
}
