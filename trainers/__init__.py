"""Trainers whose ranks are MPI processes, and the parts to build others from."""

from trainers.gradients.averaging import GradientAverager
from trainers.out_of_core import out_of_core

__all__ = ["GradientAverager", "out_of_core"]
