"""``sample_transform`` in processes of its own, for code that holds the GIL."""

import multiprocessing
import signal
import socket
import traceback
from threading import Lock
from typing import Any

import numpy as np

from datafeed.errors import ConfigError, DatafeedError, FeedError
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Step
from datafeed.loading.transforms.serialization import unpack_value
from datafeed.loading.transforms.shm_channel import Channel
from datafeed.loading.transforms.user_function import SampleError, UserFunction

__all__ = ["TransformProcess"]

_END_S = 2.0


class TransformProcess:
    """A spawned process that transforms whole batches, one at a time.

    Args:
        code: What it does; goes there by pickling, as ``multiprocessing`` does.
        number: For its name.

    Raises:
        ConfigError: the function cannot be sent to another process.
    """

    def __init__(self, code: UserFunction, number: int) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._lock = Lock()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, code), name=f"datafeed-transform-{number}", daemon=True
        )
        try:
            self._process.start()
        except Exception as error:
            self._channel.close()
            raise ConfigError(
                f"sample_transform or collate_fn cannot be sent to a process ({error}); define it "
                'at the top of a module, or give transform_in="threads"'
            ) from error
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can be given work."""
        return self._process.is_alive()

    def run(self, arrays: Arrays, step: Step, pool: Pool) -> Any:
        """Transform and collate a batch.

        Args:
            arrays: Its samples.
            step: Which they are.
            pool: Where the memory of the result comes from.

        Raises:
            SampleError: the function failed on a sample; its cause holds the traceback there.
            FeedError: its results cannot be stacked or sent; or the process ended.
        """
        epochs = (
            step.passes if step.passes is not None else np.full(len(step.positions), step.epoch)
        )
        try:
            self._channel.send([arrays, step.positions, epochs])
            received = self._channel.receive()
        except OSError as error:
            raise self._ended() from error
        if received is None:
            raise self._ended()
        tree, shared = received
        capacity = pool.lease(shared.shape, "uint8")
        np.copyto(capacity, shared)
        reply = unpack_value(tree, capacity)
        if "error" in reply:
            _raise(reply)
        return reply["batch"]

    def _ended(self) -> FeedError:
        self._process.join(_END_S)
        code, pid = self._process.exitcode, self._process.pid
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return FeedError(
                f"transform process {pid} was ended by {name}; look for a memory limit, or give "
                "fewer num_workers="
            )
        return FeedError(
            f"transform process {pid} ended with status {code}; see what it wrote above (a script "
            "that starts processes needs `if __name__ == '__main__':`)"
        )

    def hang_up(self) -> None:
        """Let it end when it has done what it is at; twice is fine."""
        self._channel.close()

    def close(self) -> None:
        """End the process; twice is fine."""
        self.hang_up()
        with self._lock:
            for end in (self._process.terminate, self._process.kill):
                self._process.join(_END_S)
                if not self._process.is_alive():
                    return
                end()
            self._process.join(_END_S)


def _raise(reply: dict[str, Any]) -> None:
    if reply["position"] is None:
        raise FeedError(reply["error"])
    raise SampleError(reply["position"]) from _Remote(reply["error"], reply["traceback"])


class _Remote(Exception):
    """What was raised in another process, with its traceback there as text."""

    def __init__(self, text: str, there: str) -> None:
        super().__init__(text)
        self._there = there

    def __str__(self) -> str:
        return f"in a transform process:\n{self._there}"

    def __repr__(self) -> str:
        return str(self.args[0])


def _serve(sock: socket.socket, code: UserFunction) -> None:
    """Work until the other end is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    torch.set_num_threads(1)
    channel = Channel(sock)
    while (received := channel.receive()) is not None:
        arrays, positions, epochs = unpack_value(*received)
        reply = _answer(code, arrays, positions.tolist(), epochs.tolist())
        del arrays, positions, epochs, received
        try:
            channel.send(reply)
        except DatafeedError as error:
            channel.send(_failed(None, str(error)))
        except OSError:
            return


def _answer(
    code: UserFunction, arrays: Arrays, positions: list[int], epochs: list[int]
) -> dict[str, Any]:
    try:
        samples = [
            code.run(arrays, i, position, epoch)
            for i, (position, epoch) in enumerate(zip(positions, epochs, strict=True))
        ]
        return {"batch": code.collate(samples)}
    except SampleError as error:
        text = "".join(traceback.format_exception(error.__cause__))
        return _failed(error.position, repr(error.__cause__), text)
    except FeedError as error:
        return _failed(None, str(error))


def _failed(position: int | None, error: str, there: str = "") -> dict[str, Any]:
    return {"error": error, "position": position, "traceback": there}
