"""Holds the one module that mosaicml-streaming imports."""
