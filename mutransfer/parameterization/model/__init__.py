"""The user's model: its factory, the names of its parameters, what known layers document."""
