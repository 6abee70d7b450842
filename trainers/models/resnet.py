"""Residual networks of 18 and 50 layers (He et al., CVPR 2016), as torchvision defines them.

The 3 x 3 convolution of a bottleneck has the stride (ResNet "v1.5"). The last norm of each block
starts at zero, so that blocks start as identities (Goyal et al., 2017, for large batches).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainers.models.image_network import ImageNetwork

__all__ = ["ResNet", "resnet18", "resnet50"]


class _Block(nn.Module):
    """Convolutions with a way past them.

    Args:
        n_in, n_out: Channels.
        kernels: Sizes of the kernels.
        widths: Channels behind each.
        strided: Which of them has the stride.
        stride: Step between pixels.
    """

    def __init__(
        self, n_in: int, kernels: Sequence[int], widths: Sequence[int], strided: int, stride: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = n_in
        for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True)):
            layers += _normed(before, width, kernel, stride if i == strided else 1)
            layers.append(nn.ReLU(inplace=True))
            before = width
        self.layers = nn.Sequential(*layers[:-1])
        nn.init.zeros_(layers[-2].weight)  # type: ignore[arg-type]
        is_same = stride == 1 and n_in == before
        self.past = nn.Identity() if is_same else nn.Sequential(*_normed(n_in, before, 1, stride))

    def forward(self, planes: Tensor) -> Tensor:
        """Add both ways."""
        return torch.relu(self.layers(planes) + self.past(planes))


def _normed(n_in: int, n_out: int, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(n_out)]


class ResNet(ImageNetwork):
    """A residual network over uint8 images.

    Args:
        depths: Blocks of each of the four stages.
        is_bottleneck: Three convolutions a block (1, 3, 1) in place of two (3, 3).
        n_channels: Of the images.
        n_classes: Labels are 0 to n_classes - 1.
    """

    def __init__(
        self, depths: Sequence[int], is_bottleneck: bool, n_channels: int, n_classes: int
    ) -> None:
        super().__init__()
        stem = [*_normed(n_channels, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        blocks: list[nn.Module] = []
        before = 64
        for stage, depth in enumerate(depths):
            width = 64 << stage
            widths = (width, width, 4 * width) if is_bottleneck else (width, width)
            kernels = (1, 3, 1) if is_bottleneck else (3, 3)
            for i in range(depth):
                stride = 2 if stage and not i else 1
                blocks.append(_Block(before, kernels, widths, int(is_bottleneck), stride))
                before = widths[-1]
        self.layers = nn.Sequential(
            *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, n_classes)
        )


def resnet18(n_channels: int, n_classes: int) -> ResNet:
    """Make the network of 18 layers; 11.7 million parameters for 1,000 classes."""
    return ResNet((2, 2, 2, 2), False, n_channels, n_classes)


def resnet50(n_channels: int, n_classes: int) -> ResNet:
    """Make the network of 50 layers; 25.6 million parameters for 1,000 classes."""
    return ResNet((3, 4, 6, 3), True, n_channels, n_classes)
