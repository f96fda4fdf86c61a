"""The infinite-width side: tangent kernels, their closed forms and what training under them does."""

from mutransfer.kernels.blocks import Abs as Abs
from mutransfer.kernels.blocks import Erf as Erf
from mutransfer.kernels.blocks import Residual as Residual
from mutransfer.kernels.blocks import Scale as Scale
from mutransfer.kernels.blocks import Sin as Sin
from mutransfer.kernels.infinite import InfiniteWidth as InfiniteWidth
from mutransfer.kernels.infinite import infinite_width as infinite_width
