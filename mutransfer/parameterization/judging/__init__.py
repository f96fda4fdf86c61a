"""Judging: how what was measured goes with width, beside what a plan's table predicts, and what is to blame."""
