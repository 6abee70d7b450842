"""The network takes images of any size, grey or in colour."""

import pytest
import torch

from trainers.models.small_cnn import SmallConvNet


@pytest.mark.parametrize("shape", [(28, 28), (4, 5), (33, 64, 3), (28, 28, 1)])
def test_logits_of_each_sample_alone(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    n_channels = shape[2] if len(shape) == 3 else 1
    model = SmallConvNet(shape[0], shape[1], n_channels, 7)
    images = torch.randint(256, (5, *shape), dtype=torch.uint8)
    logits = model(images)
    assert logits.shape == (5, 7)
    torch.testing.assert_close(model(images[2:4]), logits[2:4], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits[0], logits[1])
