"""Tangent kernels of a finite network, by backward passes and by its layers' structure."""

from mutransfer.kernels.empirical.ntk import Outputs as Outputs
from mutransfer.kernels.empirical.ntk import empirical_ntk as empirical_ntk
