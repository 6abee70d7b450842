"""What runs staging tasks: this machine's processes, MPI ranks, Hadoop on YARN, or Spark."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from datafeed.errors import ConfigError
from datafeed.staging.engines.base import Engine, Job

__all__ = ["ENGINES", "Engine", "Job", "make_engine"]

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
    module = import_module(f"datafeed.staging.engines.{name}")
    given = {key: value for key, value in options.items() if value is not None}
    try:
        engine: Engine = getattr(module, ENGINES[name])(**given)
    except TypeError as error:
        raise ConfigError(f"--engine {name} takes no option {sorted(given)}") from error
    return engine
