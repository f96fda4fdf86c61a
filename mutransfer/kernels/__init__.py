"""The infinite-width side, and the negative control: tangent kernels, frozen-feature twins, how far a kernel moved."""

from mutransfer.kernels.empirical import empirical_ntk as empirical_ntk
