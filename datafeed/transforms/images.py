"""Images to arrays of one size."""

from collections.abc import Callable
from typing import Any

from datafeed.feed.schema import Sample

__all__ = ["decode", "resize"]


def decode(field: str = "image", *, color: str | None = None) -> Callable[[Sample], Sample]:
    """Decode the bytes of a PNG or JPEG, as Parquet, TFRecord and SequenceFiles hold them.

    Args:
        field: Which field.
        color: ``rgb`` or ``gray``; None: as the image is.

    Returns:
        A transform; the field becomes uint8 of shape (H, W, 3) or (H, W), or uint16 (H, W).
    """
    from datafeed.formats.pictures.images import decode_image

    def transform(sample: Sample) -> Sample:
        return {**sample, field: decode_image(sample[field], color)}

    return transform


def resize(
    size: int | tuple[int, int],
    field: str = "image",
    *,
    mode: str = "crop",
    color: str | None = "rgb",
    draft: bool = False,
) -> Callable[[Sample], Sample]:
    """Bring images to one size, from arrays or from the bytes of PNG and JPEG.

    Args:
        size: Pixels of both sides, or (height, width).
        field: Which field.
        mode: ``crop`` scales until the image covers the size and cuts its middle out; ``stretch``
            scales each side on its own; ``pad`` scales until it fits in, on black.
        color: ``rgb`` or ``gray``; None: as each image is, so all must be alike.
        draft: Let JPEG decode at 1/2, 1/4 or 1/8 where that still covers the size: several times
            as fast, other pixels. Only for images that are still bytes (``tar(decode=False)``).

    Returns:
        A transform; the field becomes uint8 of shape (height, width, 3) or (height, width).
    """
    from datafeed.formats.pictures.images import MODES, resized

    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
    height, width = (size, size) if isinstance(size, int) else size

    def transform(sample: Sample) -> dict[str, Any]:
        image = resized(sample[field], (height, width), mode, color, draft)
        return {**sample, field: image}

    return transform
