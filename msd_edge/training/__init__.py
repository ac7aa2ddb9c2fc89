"""Training: losses, methods, the loop, the run folder."""
