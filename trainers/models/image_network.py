"""What all networks for images have in common: the pixels that they take."""

import torch
from torch import Tensor, nn

__all__ = ["ImageNetwork"]


class ImageNetwork(nn.Module):
    """Layers behind images of uint8; ``layers`` is made by the subclass."""

    layers: nn.Sequential

    def forward(self, images: Tensor) -> Tensor:
        """Score the classes.

        Args:
            images: uint8 of (samples, height, width) or (samples, height, width, channels).

        Returns:
            Logits of (samples, classes).
        """
        planes = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        logits: Tensor = self.layers(planes.to(torch.float32) / 127.5 - 1)
        return logits
