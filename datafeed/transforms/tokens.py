"""Token streams: text as bytes, and documents packed to one length."""

from collections.abc import Callable
from typing import Any

import numpy as np

from datafeed.feed.schema import Array, Sample

__all__ = ["Packer", "byte_tokens", "pack"]

_END = 256
_TRAILERS = ("pad", "drop")


def byte_tokens(field: str = "text", to: str = "tokens") -> Callable[[Sample], Sample]:
    """Make tokens of a text: its UTF-8 bytes, 0 to 255, and 256 as the end of the document.

    Args:
        field: A field of text or bytes; it is dropped.
        to: The field of the tokens, uint16 and ragged.
    """

    def transform(sample: Sample) -> Sample:
        rest = {name: value for name, value in sample.items() if name != field}
        return {**rest, to: _tokens_of(sample[field])}

    return transform


def _tokens_of(value: Any) -> Array:
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        return np.append(np.frombuffer(data, np.uint8).astype(np.uint16), np.uint16(_END))
    return np.asarray(value)


def pack(length: int, field: str = "tokens", *, tail: str = "pad", padding: int = 0) -> "Packer":
    """Pack documents one behind the other into sequences of one length.

    A document that does not fit goes on in the next sequence. What a sequence holds depends on
    the samples of its split alone, so every engine and every attempt packs alike; documents of
    two splits never meet, and the last sequence of a split is filled up or dropped.

    Args:
        length: Tokens of a sequence.
        field: The tokens of a document: a list of whole numbers; text or bytes become tokens as
            of ``byte_tokens``. Its other fields are dropped.
        tail: ``pad`` fills the last sequence of a split with ``padding``; ``drop`` leaves it out.
        padding: The token to fill with; its segment is 0.

    Returns:
        A transform; samples have ``tokens``, of the documents' type and shape (length,), and
        ``segments``, int32 of the same shape: 1 for the tokens of the first document in the
        sequence, 2 for those of the next, so that attention can keep documents apart.
    """
    if length < 1 or tail not in _TRAILERS:
        raise ValueError(
            f"length {length}, tail {tail!r}: give 1 or more, and {' or '.join(_TRAILERS)}"
        )
    return Packer(length, field, tail, padding)


class Packer:
    """Packs the documents of one split; made by ``pack``."""

    def __init__(self, length: int, field: str, tail: str, padding: int) -> None:
        self._length, self._field, self._tail, self._padding = length, field, tail, padding
        self._pieces: list[Array] = []
        self._n_held = 0

    def __call__(self, sample: Sample) -> list[Sample]:
        """Take a document; give the sequences that it fills."""
        tokens = _tokens_of(sample[self._field])
        if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
            raise ValueError(f"{self._field!r} is {tokens.dtype}{list(tokens.shape)}, no tokens")
        found = []
        while self._n_held + len(tokens) >= self._length:
            head = self._length - self._n_held
            self._hold(tokens[:head])
            tokens = tokens[head:]
            found.append(self._sequence())
        self._hold(tokens)
        return found

    def finish(self) -> list[Sample]:
        """Return the last, unfilled sequence of the split."""
        if not self._pieces or self._tail == "drop":
            self._pieces, self._n_held = [], 0
            return []
        return [self._sequence()]

    def _hold(self, tokens: Array) -> None:
        if len(tokens):
            self._pieces.append(np.array(tokens))
            self._n_held += len(tokens)

    def _sequence(self) -> Sample:
        """All that is held, as one sequence."""
        lengths = [len(piece) for piece in self._pieces]
        n_missing = self._length - sum(lengths)
        end = np.full(n_missing, self._padding, self._pieces[0].dtype)
        numbers = np.arange(1, len(lengths) + 1, dtype=np.int32)
        segments = np.concatenate([np.repeat(numbers, lengths), np.zeros(n_missing, np.int32)])
        sequence = {"tokens": np.concatenate([*self._pieces, end]), "segments": segments}
        self._pieces, self._n_held = [], 0
        return sequence
