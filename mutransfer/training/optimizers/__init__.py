"""Optimizers that studies can train with."""
