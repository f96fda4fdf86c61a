"""Tune at small width, verify at larger widths, judge."""
