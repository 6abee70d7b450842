"""The user's function over samples, given as ``MODULE:FUNCTION``."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from datafeed.calls import Call, parse_call
from datafeed.errors import ConfigError, FormatError
from datafeed.feed.schema import Sample

__all__ = [
    "Transform",
    "digest_of",
    "finished",
    "load_transform",
    "module_files",
    "transformed",
    "whole_name",
]

Transform = Callable[[Sample], Any]


def load_transform(name: str, option: str = "--transform") -> Transform:
    """Import a transform; the working folder counts as a place for modules.

    Args:
        name: ``MODULE:FUNCTION``; or ``MODULE:FACTORY(224, mode='crop')``, whose factory is called
            with these literals and gives the transform.
        option: That gave the name, for messages.

    Returns:
        The function; of a factory a new one, which may keep what it likes between the samples of
        a split.

    Raises:
        ConfigError: there is no such module or function, or it does not take such arguments.
    """
    call = parse_call(name, option)
    try:
        function = _function(call)
        if call.has_arguments:
            function = function(*call.args, **call.keywords)
    except Exception as error:  # whatever the module does when it is imported
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{option} {name}: {cause}; give MODULE:FUNCTION, importable from here"
        ) from error
    if not callable(function):
        raise ConfigError(f"{option} {name}: is no function")
    return function  # type: ignore[no-any-return]


def whole_name(name: str) -> str:
    """The same text for the same transform, however its arguments were written."""
    return str(parse_call(name, "--transform"))


def _function(call: Call) -> Any:
    module_name, _, function_name = call.name.partition(":")
    return getattr(_module(module_name), function_name)


def _module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return import_module(name)


def module_files(name: str) -> dict[str, Path]:
    """The files that remote tasks need to import a transform; none of datafeed's own.

    Returns:
        Name below a folder of modules to file: the module, or the whole package it is in.
    """
    module_name = parse_call(name, "--transform").name.partition(":")[0]
    top = Path(str(_module(module_name.partition(".")[0]).__file__))
    if top.parent == Path(__file__).parents[2]:
        return {}
    if "." not in module_name and top.name != "__init__.py":
        return {top.name: top}
    root = top.parent
    return {str(path.relative_to(root.parent)): path for path in sorted(root.rglob("*.py"))}


def digest_of(name: str) -> str:
    """SHA-256 of the module's file, and of the one that defines what it only imports."""
    call = parse_call(name, "--transform")
    modules = [_module(call.name.partition(":")[0])]
    home = sys.modules.get(str(getattr(_function(call), "__module__", "")))
    if home is not None and home is not modules[0] and getattr(home, "__file__", None):
        modules.append(home)
    digest = hashlib.sha256()
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def finished(transform: Transform | None, where: str) -> Iterator[tuple[str, Sample | FormatError]]:
    """Return what a transform kept to the end of the split: that of its method ``finish``, if
    any."""
    finish = getattr(transform, "finish", None)
    if finish is None:
        return
    try:
        results = _as_list(finish(), where)
    except Exception as error:
        yield "end", FormatError(f"{where}: transform raised {error!r} at the end of a split")
        return
    for i, one in enumerate(results):
        yield f"end/{i}", one


def transformed(
    samples: Iterator[tuple[str, Sample | FormatError]], transform: Transform | None, shard: str
) -> Iterator[tuple[str, Sample | FormatError]]:
    """Apply a transform: a dict goes on, None drops the sample, a list of dicts fans out.

    A sample on which the function raised, or for which it gave something else, comes as the
    FormatError that names shard and sample; bad samples go past it.
    """
    if transform is None:
        yield from samples
        return
    for key, sample in samples:
        if isinstance(sample, FormatError):
            yield key, sample
            continue
        try:
            results, fans_out = _results(transform, sample, f"{shard}: sample {key!r}")
        except FormatError as error:
            yield key, error
            continue
        for i, one in enumerate(results):
            yield (f"{key}/{i}" if fans_out else key), one


def _results(transform: Transform, sample: Sample, where: str) -> tuple[list[Sample], bool]:
    try:
        result = transform({name: _own(value) for name, value in sample.items()})
    except Exception as error:
        raise FormatError(f"{where}: transform raised {error!r}") from error
    return _as_list(result, where), isinstance(result, list)


def _own(value: Any) -> Any:
    """A value that may be changed or kept: formats give views of what they read."""
    if isinstance(value, memoryview):
        return bytes(value)
    is_view = isinstance(value, np.ndarray) and not value.flags.writeable
    return value.copy() if is_view else value


def _as_list(result: Any, where: str) -> list[Sample]:
    results = result if isinstance(result, list) else [] if result is None else [result]
    if not all(isinstance(one, dict) for one in results):
        raise FormatError(f"{where}: transform gave {type(result).__name__}; give a dict or None")
    return results
