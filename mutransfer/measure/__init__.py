"""Measurements of one model: activations, updates, and what moved in training."""
