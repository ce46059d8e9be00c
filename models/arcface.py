"""ArcFace IR-SE50: how alike two faces are.

Paper: ArcFace: Additive Angular Margin Loss for Deep Face Recognition, Deng, Guo, Xue and
Zafeiriou, CVPR 2019, https://arxiv.org/abs/1801.07698.
Weights: TreB1eN/InsightFace_Pytorch (MIT), as recognition_arcface_ir_se50.pth in xinntao/facexlib.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .iresnet import IResNet, fold, stages_of


class ArcFace(IResNet):
    """IR network with squeeze and excitation; its embeddings have unit length."""

    def forward(self, image: Tensor) -> Tensor:
        """Embeddings of aligned faces.

        Args:
            image: (B, 3, 112, 112), RGB in [-1, 1], aligned to the ArcFace template.

        Returns:
            (B, 512), of unit length: their scalar product is the cosine similarity.
        """
        return F.normalize(super().forward(image))


def _construct(state: StateDict) -> ArcFace:
    return ArcFace(stages_of(state), excite=True)


ARCHITECTURE = Architecture(
    name="arcface_ir_se50",
    keys=("body.0.res_layer.5.fc1.weight",),
    construct=_construct,
    convert=fold,
)
