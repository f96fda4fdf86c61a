"""The YAML schema of a study, loading it, and the task that it names."""
