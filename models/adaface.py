"""AdaFace: an embedding whose length tells how recognisable the face is.

Paper: AdaFace: Quality Adaptive Margin for Face Recognition, Kim, Jain and Liu, CVPR 2022,
https://arxiv.org/abs/2204.00964.
Weights: IR-50 and IR-101 of mk-minchul/CVLface (MIT), keys under `model.net.`.
"""

from __future__ import annotations

from .architecture import Architecture, StateDict
from .iresnet import IResNet, fold, stages_of

#: The last norm has statistics only, no scale and shift.
LAST_NORM = "output_layer.4"


class AdaFace(IResNet):
    """IR network; divide its embeddings by their length for the cosine similarity.

    CVLface's files take RGB. The first AdaFace repository's take BGR: flip the channels for those.
    """


def _construct(state: StateDict) -> AdaFace:
    return AdaFace(stages_of(state), excite=False)


def _convert(state: StateDict) -> StateDict:
    return fold(state, without_affine=(LAST_NORM,))


ARCHITECTURE = Architecture(
    name="adaface",
    keys=("body.0.res_layer.5.running_mean",),
    construct=_construct,
    convert=_convert,
)
