"""Transforming the samples of one batch by several threads."""

from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Any

from datafeed.errors import ConfigError
from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Step

if TYPE_CHECKING:
    from datafeed.loading.transforms.transforms import Transforms

__all__ = ["SharedWork"]


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
        transforms: "Transforms",
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
