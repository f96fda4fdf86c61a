"""Measuring: what every module and every parameter of one model does, on inputs that stay the same."""
