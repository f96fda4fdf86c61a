"""The infinite-width side: tangent kernels, their closed forms and what training under them does."""

from mutransfer.kernels.blocks import Abs as Abs
from mutransfer.kernels.blocks import Erf as Erf
from mutransfer.kernels.blocks import Residual as Residual
from mutransfer.kernels.blocks import Scale as Scale
from mutransfer.kernels.blocks import Sin as Sin
from mutransfer.kernels.dynamics import Predictions as Predictions
from mutransfer.kernels.dynamics import gradient_descent as gradient_descent
from mutransfer.kernels.dynamics import gradient_flow as gradient_flow
from mutransfer.kernels.infinite import InfiniteWidth as InfiniteWidth
from mutransfer.kernels.infinite import infinite_width as infinite_width
from mutransfer.kernels.monte_carlo import MonteCarlo as MonteCarlo
from mutransfer.kernels.monte_carlo import monte_carlo as monte_carlo
from mutransfer.kernels.posterior import gp_posterior as gp_posterior
from mutransfer.kernels.posterior import gradient_flow_ensemble as gradient_flow_ensemble
from mutransfer.kernels.spectrum import IllConditionedKernel as IllConditionedKernel
from mutransfer.kernels.spectrum import Modes as Modes
from mutransfer.kernels.spectrum import critical_learning_rate as critical_learning_rate
from mutransfer.kernels.spectrum import spectrum as spectrum
