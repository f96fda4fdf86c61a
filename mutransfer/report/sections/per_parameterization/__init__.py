"""The sections that stand under the heading of each parameterization."""
