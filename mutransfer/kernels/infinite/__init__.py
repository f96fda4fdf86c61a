"""Kernels of infinitely wide networks, layer by layer in closed form."""

from mutransfer.kernels.infinite.infinite_width import PARAMETERIZATIONS as PARAMETERIZATIONS
from mutransfer.kernels.infinite.infinite_width import InfiniteWidth as InfiniteWidth
from mutransfer.kernels.infinite.infinite_width import infinite_width as infinite_width
