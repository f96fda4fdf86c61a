"""Where a run-time factor can stand, and proof that it does something."""
