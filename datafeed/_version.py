"""The version, apart, so that nothing else is loaded to know it."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
