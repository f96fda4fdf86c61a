"""Kernels of infinitely wide networks, layer by layer in closed form."""
