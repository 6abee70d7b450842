"""Averaging of gradients over ranks: two lines in anybody's training loop.

::

    averager = trainers.GradientAverager(model, comm)
    ...
    loss.backward()
    averager.finish()
    optimizer.step()

Buckets as in PyTorch DDP (Li et al., VLDB 2020), filled in reverse order of parameters. Blocking
calls in pieces, from a helper thread for parameters on a GPU (behind 32 ms of idle CPU 34 ms in
all; Iallreduce without polling takes 54), after the backward pass for those on a CPU, where a
thread would take the cores from the pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from datafeed.errors import TrainerError
from trainers.gradients.buckets import Bucket, group, lay_out
from trainers.gradients.options import (
    Buffers,
    check_options,
    checked_samples,
    refuse_unsummable,
)
from trainers.gradients.overlap import Mode, OverlapMode
from trainers.gradients.routes import Routes, host_name, sizes_of
from trainers.gradients.sender import Sender
from trainers.gradients.shares import Shares
from trainers.world.cuda_aware import is_cuda_aware
from trainers.world.replicas import broadcast_buffers, replicate
from trainers.world.world import as_world

__all__ = ["GradientAverager"]


class GradientAverager:
    """Keeps the parameters of all ranks equal. Collective.

    Making one broadcasts parameters and buffers from rank 0, so all ranks must make it with the
    same model. Drop the gradients after each step, as ``optimizer.zero_grad()`` does.

    Args:
        model: Its trainable parameters must not move to another device afterwards.
        comm: An mpi4py communicator, a World, or None for one process.
        overlap: ``thread`` sums while the backward pass goes on, ``after`` when it is over.
            ``auto`` tries both over the first 12 steps announced by ``begin`` and keeps the faster
            one; without ``begin``, ``thread`` for parameters on a GPU.
        buffers: ``broadcast`` gives all ranks the buffers of rank 0 in each ``finish``, so that
            batch norms have the same statistics; ``own`` leaves them.
        bucket_bytes: Most bytes of a bucket, unless one parameter has more. A thread sends a
            bucket when it is full, so the last one is what the backward pass does not hide.
        first_bucket_bytes: Most bytes of the first bucket.
        piece_bytes: Bytes of one Allreduce.
        cuda_aware: Whether MPI takes GPU memory; None: ask ``trainers.world.cuda_aware``.
        host: Ranks that give the same name add up gradients of the CPU in memory that they share;
            ``auto``: the host's own name. None: by MPI alone.

    Raises:
        CollectiveMismatch: the models of two ranks differ in names, shapes, types, layout, order
            or number of parameters, or the options here differ.
        TrainerError: a gradient would be of a type that cannot be summed.
        ConfigError: an option cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        comm: Any,
        *,
        overlap: Mode = "auto",
        buffers: Buffers = "own",
        bucket_bytes: int = 2 << 20,
        first_bucket_bytes: int = 1 << 20,
        piece_bytes: int = 1 << 20,
        cuda_aware: bool | None = None,
        host: str | None = "auto",
    ) -> None:
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        refuse_unsummable(named)
        lengths = {
            "bucket_bytes": bucket_bytes,
            "first_bucket_bytes": first_bucket_bytes,
            "piece_bytes": piece_bytes,
        }
        check_options(overlap, buffers, lengths)
        self._model, self._broadcasts = model, buffers == "broadcast"
        aware = is_cuda_aware() if cuda_aware is None else cuda_aware
        options = f"overlap {overlap}, buffers {buffers}, {lengths}, CUDA-aware {aware}"
        world = as_world(comm)
        try:
            replicate(model, world, [options])
            self._world, of_routes = world.duplicate(), world.duplicate()
        finally:
            if world is not comm:
                world.close()
        sizes = sizes_of([p for _, p in named])
        host = host_name() if host == "auto" else host
        routes = Routes(of_routes, sizes, piece_bytes, aware, host)
        self._mode = OverlapMode(self._world, overlap, any(p.is_cuda for _, p in named))
        self._arrays = routes.arrays
        groups = group(named[::-1], first_bucket_bytes, bucket_bytes)
        self._buckets = lay_out(groups, self._arrays)
        self._sender = Sender(routes)
        self._hooks = [
            p.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._arrive, bucket, i)
            )
            for bucket in self._buckets
            for i, p in enumerate(bucket.parameters)
        ]
        self._shares = Shares(self._world, self._buckets)
        self._is_accumulating = False
        self._n_sent = 0

    @property
    def flagged(self) -> bool:
        """Whether any rank raised its flag in the last ``finish``."""
        return self._shares.flagged

    @property
    def overlap(self) -> Literal["auto", "thread", "after"]:
        """How the next step is summed; ``auto`` while that is still being measured."""
        if not self._mode.is_decided:
            return "auto"
        return "thread" if self._mode.is_threaded else "after"

    def zero_grad(self) -> None:
        """Drop all gradients, as ``optimizer.zero_grad()`` does."""
        for bucket in self._buckets:
            for parameter in bucket.parameters:
                parameter.grad = None

    @contextmanager
    def accumulate(self) -> Iterator[None]:
        """Let gradients of the body's backward passes add up on this rank alone.

        For all passes of a step but the last. The loss of each pass is its share of the step's.
        """
        before, self._is_accumulating = self._is_accumulating, True
        try:
            yield
        finally:
            self._is_accumulating = before

    def begin(self, n_samples_local: int) -> None:
        """Announce a share before the backward pass, on all ranks. Collective.

        Needed for unequal shares with ``overlap="thread"``, as the first gradients are sent
        before ``finish``, and for ``auto`` to measure; then ``finish`` needs no number.
        """
        checked_samples(n_samples_local)
        self._mode.begin()
        self._shares.announce(n_samples_local, is_shared=self._mode.is_threaded)

    def finish(self, n_samples_local: int | None = None, flag: bool = False) -> int:
        """Average the gradients over all ranks, after the backward pass. Collective.

        Each rank's gradients are those of the mean loss of its own samples; weighted by the
        numbers of samples, they become those of the mean loss of the global batch. A parameter
        that no rank used has no gradient afterwards, as with one process.

        Args:
            n_samples_local: Samples behind this rank's gradients; 0 for an empty share, whose
                gradients count as zeros whatever they hold. None on all ranks: equal shares, or
                those given to ``begin``.
            flag: Raised on any rank, it is seen on all as ``flagged``.

        Returns:
            Samples of all ranks; their number if shares are equal.

        Raises:
            TrainerError: gradients were not dropped after the step before, or were sent already
                with another weight.
        """
        is_threaded = self._mode.is_threaded
        if n_samples_local is not None and not self._shares.is_announced and is_threaded:
            raise TrainerError(
                "finish: the first gradients are sent during the backward pass; give the number "
                "of samples to begin() before it, or make the averager with overlap='after'"
            )
        total, used = self._shares.agree(n_samples_local, flag)
        factor, weight = self._shares.factor, self._shares.weight
        for bucket in self._buckets[self._n_sent :]:
            bucket.take_rest(weight if factor else 0)
            if is_threaded:
                self._sender.send(bucket.flat, factor or 1, in_thread=True)
        for array in () if is_threaded else self._arrays.values():
            if not factor:
                array.zero_()  # whatever was taken
            self._sender.send(array, factor or 1, in_thread=False)
        self._sender.wait()
        for bucket, flags in zip(self._buckets, used, strict=True):
            bucket.give(flags)
        if self._broadcasts:
            broadcast_buffers(self._model, self._world)
        self._n_sent = 0
        self._shares.end()
        self._mode.end()
        return total

    def clip(self, max_norm: float) -> float:
        """Scale the averaged gradients down if their global norm is above a bound.

        Needs no communication: after ``finish`` all ranks hold the same gradients.

        Returns:
            The norm before.
        """
        parameters = [p for bucket in self._buckets for p in bucket.parameters]
        return float(nn.utils.clip_grad_norm_(parameters, max_norm))

    def _arrive(self, bucket: Bucket, i: int, parameter: Tensor) -> None:
        """Take a gradient when the backward pass has made it; send the buckets that are full."""
        if self._is_accumulating:
            return
        factor, weight = self._shares.factor, self._shares.weight
        if not self._mode.is_threaded:
            bucket.take(i, weight)
            return
        grad, weight = bucket.accept(i), weight if factor else 0
        if grad.is_cuda:  # queued on the stream that made it
            bucket.fill(i, grad, weight)
        else:
            self._sender.put(partial(bucket.fill, i, grad, weight))
        while self._n_sent < len(self._buckets):
            if not self._buckets[self._n_sent].is_full:  # the same order on all ranks
                return
            flat = self._buckets[self._n_sent].flat
            self._sender.send(flat, factor or 1, in_thread=True)
            self._n_sent += 1

    def close(self) -> None:
        """Free the communicators, leave the parameters alone; twice is fine. Collective."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._sender.close()
        self._world.close()
