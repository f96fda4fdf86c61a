"""What moved, for one model, and how it depends on width."""
