"""The infinite-width side, and the negative control: tangent kernels, frozen-feature twins, how far a kernel moved."""

from mutransfer.kernels.distances import effective_rank as effective_rank
from mutransfer.kernels.distances import eigenspace_overlap as eigenspace_overlap
from mutransfer.kernels.distances import jackknife as jackknife
from mutransfer.kernels.distances import kernel_distance as kernel_distance
from mutransfer.kernels.distances import kernel_velocity as kernel_velocity
from mutransfer.kernels.distances import participation_ratio as participation_ratio
from mutransfer.kernels.distances import relative_drift as relative_drift
from mutransfer.kernels.distances import target_alignment as target_alignment
from mutransfer.kernels.distances import target_overlap as target_overlap
from mutransfer.kernels.empirical import empirical_ntk as empirical_ntk
from mutransfer.kernels.linearize import lazy as lazy
from mutransfer.kernels.linearize import linearize as linearize
from mutransfer.kernels.sketches import sketched_ntk as sketched_ntk
from mutransfer.kernels.sketches import split_distance as split_distance
from mutransfer.kernels.sketches import split_drift as split_drift
