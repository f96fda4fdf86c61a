"""Tangent kernels of a finite network, by backward passes and by its layers' structure."""
