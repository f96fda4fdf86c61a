"""Optimizer parameter groups under a plan, and what keeps them right while training."""
