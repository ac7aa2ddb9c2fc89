"""msd-edge: early-exit image classifiers from training to the phone."""

__version__ = "0.1.0"
