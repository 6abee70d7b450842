"""Stands in for torchvision, whose published wheels want the CUDA build of torch."""
