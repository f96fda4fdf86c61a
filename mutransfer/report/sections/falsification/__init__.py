"""The sections of the page of the frozen-feature control."""
