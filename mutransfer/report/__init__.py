"""What a person sees: console, JSON lines, TensorBoard, plots, the report."""
