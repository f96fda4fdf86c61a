"""Models of the built-in tasks, plain torch modules that know nothing of parameterization, one file each."""
