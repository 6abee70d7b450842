"""Noticing that an epoch is begun again and again, which gives the same batches each time."""

import logging

__all__ = ["Beginnings"]

_OFTEN = 3
"""A look at the first batch, and one more, are nothing to talk about."""
_log = logging.getLogger("datafeed")


class Beginnings:
    """Counts how often a loader began at one place without having been sent there."""

    def __init__(self) -> None:
        self._place = (-1, -1, -1)
        self._n = 0

    def note(self, epoch: int, step: int, n_moves: int) -> None:
        """Take note of one, and warn once where there are many.

        torch's loader shuffles anew each time it is iterated; training loops that leave each epoch
        early count on it, and would see the same batches for ever.

        Args:
            epoch, step: Where it began.
            n_moves: How often the loader was sent to a place so far.
        """
        place = epoch, step, n_moves
        self._n = self._n + 1 if place == self._place else 1
        self._place = place
        if self._n == _OFTEN:
            _log.warning(
                "epoch %d begins at step %d for the %drd time, with the same batches, as it was "
                "left early; call set_epoch() for the next one, or load_state_dict() to go on",
                *(epoch, step, self._n),
            )
