"""Which dimensions of a parameter grow with width, and the role that this gives it."""
