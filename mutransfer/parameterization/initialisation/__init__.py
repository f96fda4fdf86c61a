"""How the model's own initialisation scales with width, measured."""
