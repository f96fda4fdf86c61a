"""The coordinate check: how activations and their changes scale with width."""
