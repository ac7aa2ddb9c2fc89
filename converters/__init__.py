"""Conversion: one module per target, quantization, and the proof that files compute what the network computes."""
