"""Whether the tuned optimum held at larger widths."""
