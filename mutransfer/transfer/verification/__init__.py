"""The check at larger widths that a tuned optimum is still right."""
