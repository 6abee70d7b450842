"""What runs staging tasks: this machine's processes, MPI ranks, Hadoop on YARN, or Spark."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from datafeed.errors import ConfigError
from datafeed.staging.engines.base import Engine, Job

__all__ = ["ENGINES", "Engine", "Job", "make_engine", "option_names"]

ENGINES = {
    "local": "LocalEngine",
    "mpi": "MpiEngine",
    "hadoop": "HadoopEngine",
    "spark": "SparkEngine",
}


def make_engine(name: str, options: Mapping[str, Any]) -> Engine:
    """Make an engine.

    Raises:
        ConfigError: there is no such engine, or it has no such option.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine {name}: give one of {', '.join(ENGINES)}")
    given = {key: value for key, value in options.items() if value is not None}
    try:
        engine: Engine = _engine_class(name)(**given)
    except TypeError as error:
        raise ConfigError(f"--engine {name} takes no option {sorted(given)}") from error
    return engine


def option_names(name: str) -> frozenset[str]:
    """Name the options that an engine takes; none of one that is not there."""
    if name not in ENGINES:
        return frozenset()
    return frozenset(signature(_engine_class(name)).parameters)


def _engine_class(name: str) -> Any:
    module = name if name == "local" else f"{name}.engine"
    return getattr(import_module(f"datafeed.staging.engines.{module}"), ENGINES[name])
