"""Expectations of nonlinearities under Gaussian preactivations."""
