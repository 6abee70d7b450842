"""A loader for dlio-benchmark that does nothing: what it reaches is the ceiling for all others."""

from collections.abc import Iterator
from typing import Any

import torch
from dlio_benchmark.common.enumerations import DataLoaderType
from dlio_benchmark.data_loader.base_data_loader import BaseDataLoader

__all__ = ["NothingDataLoader"]


class NothingDataLoader(BaseDataLoader):  # type: ignore[misc]
    """Gives one and the same small tensor for every batch."""

    def __init__(self, format_type: Any, dataset_type: Any, epoch: int) -> None:
        super().__init__(format_type, dataset_type, epoch, DataLoaderType.PYTORCH)

    def read(self) -> None:
        """Read nothing."""

    def next(self) -> Iterator[Any]:
        """Return as many batches as an epoch has."""
        batch = torch.zeros(1)
        for _ in range(self.num_samples // self.batch_size // self._args.comm_size):
            yield batch

    def finalize(self) -> None:
        """End nothing."""
