"""A study from its config: what each verb does, on a run directory."""
