"""The peers' way of cutting faces out and pasting them back, in plain OpenCV.

What facexlib's FaceRestoreHelper does, and after it GFPGAN, CodeFormer, ReActor and
facerestore_cf: every face is warped over the whole frame, its mask is eroded and blurred there, and
the whole frame is mixed once a face, then cut to 8 bits. Written anew from its description.
"""

from __future__ import annotations

import cv2
import numpy as np

#: The FFHQ template at 512 px, as the peers use it.
TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)

#: What lies beyond the picture, BGR.
PADDING = (135, 133, 132)


def align(
    picture: np.ndarray, points: np.ndarray, size: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Crop (size, size, 3) and matrix (2, 3) of one face of an (H, W, 3) uint8 picture."""
    matrix = cv2.estimateAffinePartial2D(points, TEMPLATE * (size / 512), method=cv2.LMEDS)[0]
    crop = cv2.warpAffine(
        picture, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=PADDING
    )
    return crop, matrix


def paste(
    picture: np.ndarray,
    crops: list[np.ndarray],
    matrices: list[np.ndarray],
    parsed: np.ndarray | None = None,
) -> np.ndarray:
    """The picture (H, W, 3) uint8 with all crops mixed in, one full frame a face.

    Args:
        picture: (H, W, 3) uint8.
        crops: (S, S, 3) uint8 each.
        matrices: (2, 3) each, from the picture to the crop.
        parsed: (S, S) float64 in [0, 1], the face in every crop as a parser sees it. All of them
            parse by default; it turns the whole frame's mask to double precision, and the frame.
            None pastes the square.
    """
    height, width = picture.shape[:2]
    result = picture.astype(np.float32)
    for crop, matrix in zip(crops, matrices, strict=True):
        inverse = cv2.invertAffineTransform(matrix)
        face = cv2.warpAffine(crop, inverse, (width, height))
        mask = cv2.warpAffine(np.ones(crop.shape[:2], np.float32), inverse, (width, height))
        mask = cv2.erode(mask, np.ones((2, 2), np.uint8))
        area = mask.sum()
        edge = max(int(area**0.5) // 20, 1)
        inside = cv2.erode(mask, np.ones((edge * 2, edge * 2), np.uint8))
        soft = cv2.GaussianBlur(inside, (edge * 2 + 1, edge * 2 + 1), 0)[..., None]
        if parsed is not None:
            seen = parsed_frame(parsed, inverse, width, height)
            inner = (seen < soft).astype("int")
            soft = seen * inner + soft * (1 - inner)
        result = soft * (mask[..., None] * face) + (1 - soft) * result
    return result.clip(0, 255).astype(np.uint8)


def parsed_frame(parsed: np.ndarray, inverse: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, 1): a parser's mask, blurred twice and cut at the crop's border, over the frame."""
    for _ in range(2):
        parsed = cv2.GaussianBlur(parsed, (101, 101), 11)
    framed = np.zeros_like(parsed)
    framed[10:-10, 10:-10] = parsed[10:-10, 10:-10]
    return cv2.warpAffine(framed, inverse, (width, height))[..., None]
