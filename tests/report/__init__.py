"""Tests of mutransfer.report: what a person sees on screen, in TensorBoard and in the report."""
