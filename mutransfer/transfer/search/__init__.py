"""Search spaces, sweeps and tuning at base width."""
