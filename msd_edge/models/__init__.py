"""Backbones as stem and stages, sampling-based branches, the multi-exit network."""
