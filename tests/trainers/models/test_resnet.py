"""ResNets, measured against the parameter counts of the published ones."""

from collections.abc import Callable

import pytest
import torch

from trainers.models.resnet import ResNet, resnet18, resnet50


@pytest.mark.parametrize(
    ("make", "n_parameters", "n_tensors"), [(resnet18, 11_689_512, 62), (resnet50, 25_557_032, 161)]
)
def test_published_sizes(
    make: Callable[[int, int], ResNet], n_parameters: int, n_tensors: int
) -> None:
    sizes = [p.numel() for p in make(3, 1000).parameters()]
    assert (sum(sizes), len(sizes)) == (n_parameters, n_tensors)


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (2, 33, 40)])
def test_shapes(shape: tuple[int, ...]) -> None:
    network = resnet18(3 if len(shape) == 4 else 1, 7)
    assert network(torch.zeros(shape, dtype=torch.uint8)).shape == (2, 7)
