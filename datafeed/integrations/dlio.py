"""Feeds for dlio-benchmark, the judge of MLPerf Storage, by configuration alone.

::

    reader:
      data_loader_classname: datafeed.integrations.dlio.FeedDataLoader
      data_loader_sampler: index

The feeds lie in ``feed/train`` and ``feed/valid`` of the workload's ``data_folder``; the
environment variable ``DATAFEED_DLIO_FEED`` names another folder or URL for both, and
``DATAFEED_DLIO_CACHE`` memcached servers. benchmarks/dlio.py runs all of it.
"""

import os
from collections.abc import Iterator
from typing import Any

from dlio_benchmark.common.enumerations import DataLoaderType, DatasetType, Shuffle
from dlio_benchmark.data_loader.base_data_loader import BaseDataLoader

from datafeed.dataset.feed import open as open_feed
from datafeed.loading.loader import DataLoader
from datafeed.sources.urls import join

__all__ = ["FeedDataLoader"]


class FeedDataLoader(BaseDataLoader):  # type: ignore[misc]
    """What dlio-benchmark calls: ``read`` once, ``next`` and ``finalize`` once an epoch.

    Args:
        format_type: Of the workload's raw files; means nothing here.
        dataset_type: Whether batches are for training or for evaluation.
        epoch: The first one.
    """

    def __init__(self, format_type: Any, dataset_type: Any, epoch: int) -> None:
        super().__init__(format_type, dataset_type, epoch, DataLoaderType.PYTORCH)
        self._loader: DataLoader | None = None

    def read(self) -> None:
        """Open the feed."""
        args = self._args
        root = os.environ.get("DATAFEED_DLIO_FEED") or join(args.data_folder, "feed")
        side = "train" if self.dataset_type is DatasetType.TRAIN else "valid"
        feed = open_feed(join(root, side), cache=os.environ.get("DATAFEED_DLIO_CACHE"))
        self._loader = DataLoader(
            feed,
            batch_size=self.batch_size,
            shuffle=args.sample_shuffle is not Shuffle.OFF,
            seed=args.seed,
            rank=args.my_rank,
            world_size=args.comm_size,
            drop_last=True,
        )

    def next(self) -> Iterator[Any]:
        """Return the batches of the next epoch."""
        assert self._loader is not None, "read() comes first"
        yield from self._loader

    def finalize(self) -> None:
        """End an epoch; the loader ends with its process."""
