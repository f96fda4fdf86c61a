"""Tangent kernels: of finite models and infinitely wide networks, training under them, and frozen-feature twins."""

# Grouped for readers.
# ruff: isort: skip_file

# Empirical kernels
from mutransfer.kernels.empirical.ntk import empirical_ntk as empirical_ntk
from mutransfer.kernels.empirical.sketches import sketched_ntk as sketched_ntk

# Infinite width
from mutransfer.kernels.infinite.infinite_width import InfiniteWidth as InfiniteWidth
from mutransfer.kernels.infinite.infinite_width import infinite_width as infinite_width
from mutransfer.kernels.infinite.monte_carlo import MonteCarlo as MonteCarlo
from mutransfer.kernels.infinite.monte_carlo import monte_carlo as monte_carlo

# Blocks that torch has no module for
from mutransfer.kernels.modules import Abs as Abs
from mutransfer.kernels.modules import Erf as Erf
from mutransfer.kernels.modules import Residual as Residual
from mutransfer.kernels.modules import Scale as Scale
from mutransfer.kernels.modules import Sin as Sin

# Dynamics
from mutransfer.kernels.dynamics import gradient_descent as gradient_descent
from mutransfer.kernels.dynamics import gradient_flow as gradient_flow
from mutransfer.kernels.kernel_problem import Predictions as Predictions
from mutransfer.kernels.posterior import gp_posterior as gp_posterior
from mutransfer.kernels.posterior import gradient_flow_ensemble as gradient_flow_ensemble
from mutransfer.kernels.spectrum import IllConditionedKernel as IllConditionedKernel
from mutransfer.kernels.spectrum import Modes as Modes
from mutransfer.kernels.spectrum import critical_learning_rate as critical_learning_rate
from mutransfer.kernels.spectrum import spectrum as spectrum

# Frozen-feature twins
from mutransfer.kernels.linearize import lazy as lazy
from mutransfer.kernels.linearize import linearize as linearize

# Distances
from mutransfer.kernels.distances import effective_rank as effective_rank
from mutransfer.kernels.distances import eigenspace_overlap as eigenspace_overlap
from mutransfer.kernels.distances import jackknife as jackknife
from mutransfer.kernels.distances import kernel_distance as kernel_distance
from mutransfer.kernels.distances import kernel_velocity as kernel_velocity
from mutransfer.kernels.distances import participation_ratio as participation_ratio
from mutransfer.kernels.distances import relative_drift as relative_drift
from mutransfer.kernels.distances import target_alignment as target_alignment
from mutransfer.kernels.distances import target_overlap as target_overlap
from mutransfer.kernels.empirical.sketches import split_distance as split_distance
from mutransfer.kernels.empirical.sketches import split_drift as split_drift
