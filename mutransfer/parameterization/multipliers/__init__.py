"""Run-time factors: where one can stand, and proof that it does something."""
