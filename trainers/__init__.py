"""Trainers whose ranks are MPI processes, and the parts to build others from."""

from trainers.averaging import GradientAverager

__all__ = ["GradientAverager"]
