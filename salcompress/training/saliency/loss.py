"""The loss that SaliencyNet is trained by."""

import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.saliency.network import SideOutputs


def saliency_loss(output: SideOutputs, mask: Tensor) -> Tensor:
    """Cross-entropy plus one minus the soft intersection over union.

    Both terms are taken of the fused output and of each side output, at its own size. The second
    one makes maps confident and objects whole: Qin et al., "BASNet", CVPR 2019. Equal weights of
    all terms are our choice.

    Args:
        output: Logits of the network, (N, 1, h, w) each.
        mask: The salient objects, (N, 1, H, W) in [0, 1].

    Returns:
        A scalar of at least 0.
    """
    total = torch.zeros((), device=mask.device)
    for logits in (output.fused, *output.sides):
        target = F.interpolate(mask, logits.shape[2:], mode="area")
        probability = logits.float().sigmoid()
        common = (probability * target).sum((1, 2, 3))
        union = (probability + target - probability * target).sum((1, 2, 3))
        total = (
            total
            + F.binary_cross_entropy_with_logits(logits.float(), target)
            + (1 - (common + 1) / (union + 1)).mean()
        )
    return total
