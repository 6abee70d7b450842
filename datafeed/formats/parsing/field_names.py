"""Names that others give to columns and features, as names of fields."""

import re
from collections.abc import Iterable

from datafeed.errors import FormatError

__all__ = ["field_names"]

_OTHERS = re.compile(r"[^A-Za-z0-9_.\-]+")


def field_names(names: Iterable[str], where: str) -> list[str]:
    """Make names of fields: ``image/encoded`` is ``image.encoded``, ``Price (EUR)`` ``Price_EUR``.

    Args:
        names: As the shard has them.
        where: The shard, for error messages.

    Raises:
        FormatError: two become the same.
    """
    found: dict[str, str] = {}
    for name in names:
        field = _field_name(name)
        if field in found:
            raise FormatError(
                f"{where}: {found[field]!r} and {name!r} both give the field {field!r}; rename one"
            )
        found[field] = name
    return list(found)


def _field_name(name: str) -> str:
    plain = _OTHERS.sub("_", name.replace("/", ".")).strip("_") or "field"
    return plain if plain[0].isascii() and plain[0].isalpha() else f"f_{plain}"
