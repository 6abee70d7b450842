"""Transforming the samples of one batch by several threads."""

from concurrent.futures import Future
from threading import Lock
from typing import Any, Protocol

from datafeed.errors import ConfigError
from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Step
from datafeed.loading.telemetry.activity import Activity

__all__ = ["SampleWork", "SharedWork"]


class SampleWork(Protocol):
    """What is done with each sample, and with all of a batch at the end."""

    activity: Activity

    @property
    def is_closed(self) -> bool:
        """Whether no more samples shall be transformed."""

    def one(self, arrays: Arrays, i: int, step: Step) -> Any:
        """Transform the sample in row i."""

    def collated(self, outputs: list[Any], step: Step) -> Any:
        """Make the batch of its transformed samples."""


class SharedWork:
    """The samples of one batch; the thread that is done last collates.

    Args:
        transforms: Whose functions are called.
        arrays: The samples.
        step: Which they are.
        future: Gets the batch, or what went wrong first.
        shares: Rows of the samples that each thread transforms.
    """

    def __init__(
        self,
        transforms: SampleWork,
        arrays: Arrays,
        step: Step,
        future: "Future[Any]",
        shares: list[list[int]],
    ) -> None:
        self._transforms, self._arrays, self._step = transforms, arrays, step
        self._future = future
        self.shares = shares
        self._n_left = len(shares)
        self._outputs: list[Any] = [None] * len(step.positions)
        self._lock = Lock()

    def run(self, share: list[int]) -> None:
        """Do one share; never raises."""
        try:
            with self._transforms.activity.doing("transform"):
                for i in share:
                    if self._transforms.is_closed:
                        raise ConfigError("this loader is closed; make a new one")
                    self._outputs[i] = self._transforms.one(self._arrays, i, self._step)
            with self._lock:
                self._n_left -= 1
                is_last = not self._n_left
            if is_last:
                self._future.set_result(self._transforms.collated(self._outputs, self._step))
        except BaseException as error:
            with self._lock:
                if not self._future.done():
                    self._future.set_exception(error)
