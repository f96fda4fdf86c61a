"""One forward pass, followed operation by operation: what is done with each parameter."""
