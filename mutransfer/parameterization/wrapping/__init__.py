"""Putting a plan on a model, and taking it off again."""
