"""Measures bundles and reports what was measured."""
