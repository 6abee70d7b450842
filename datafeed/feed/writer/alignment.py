"""Where chunks may begin in a part."""

from datafeed.feed.schema import Schema

__all__ = ["alignment_of"]

_PAGE_BYTES, _LEAST_BYTES = 4096, 64
_ALIGNED_WELL_FROM_BYTES = 64 << 10


def alignment_of(schema: Schema, samples_per_chunk: int) -> int:
    """Align chunks to pages, unless they are small: there the holes would be most of the file.

    A feed of 1,000 samples of 16 bytes takes 1.9 times their bytes so, and 27 times with pages.
    """
    n_bytes = samples_per_chunk * sum(field.row_bytes for field in schema if not field.is_ragged)
    is_ragged = any(field.is_ragged for field in schema)
    is_large = is_ragged or n_bytes >= _ALIGNED_WELL_FROM_BYTES
    return _PAGE_BYTES if is_large else _LEAST_BYTES
