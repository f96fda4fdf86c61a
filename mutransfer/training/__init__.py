"""One training run, and the tasks that it trains."""
