"""Backward and forward passes: signals, Jacobians and tangents of every layer."""
