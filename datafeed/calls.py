"""Names with arguments on the command line, as ``resize(224, mode='crop')``; never evaluated."""

import ast
import warnings
from dataclasses import dataclass, field
from typing import Any

from datafeed.errors import ConfigError

__all__ = ["Call", "parse_call"]


@dataclass(frozen=True)
class Call:
    """A name and the literal arguments it is called with."""

    name: str
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    has_arguments: bool = False
    """Whether parentheses were written, even empty ones."""

    def __str__(self) -> str:
        """The same text for the same call, however it was written."""
        if not self.has_arguments:
            return self.name
        words = [repr(arg) for arg in self.args]
        words += [f"{name}={value!r}" for name, value in sorted(self.keywords.items())]
        return f"{self.name}({', '.join(words)})"


def parse_call(text: str, option: str) -> Call:
    """Read ``NAME`` or ``NAME(literal, name=literal)``.

    Literals are Python's numbers, strings, booleans, None, and lists, tuples and dicts of them
    (``ast.literal_eval``); nothing is looked up or run.

    Args:
        text: What the user gave; the name is taken as it stands, with dots and colons.
        option: As ``--transform``, for the message.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{option} {text!r}: give it by name, as text")
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return Call(name)
    try:
        tree = _call_of(f"f({rest}")
        args = tuple(ast.literal_eval(arg) for arg in tree.args)
        keywords = {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords}
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ConfigError(
            f"{option} {text}: its arguments do not read; give literals, as "
            f"\"{name}(224, mode='crop')\""
        ) from error
    return Call(name.strip(), args, keywords, has_arguments=True)


def _call_of(text: str) -> ast.Call:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # odd escapes in strings
        tree = ast.parse(text, mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError("not one call")
    names = [word.arg for word in tree.keywords]
    if None in names or len(set(names)) < len(names):
        raise ValueError("** is no literal, and a name goes once")
    return tree
