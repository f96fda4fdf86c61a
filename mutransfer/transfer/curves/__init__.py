"""The optimum of a noisy learning-rate curve, with an interval."""
