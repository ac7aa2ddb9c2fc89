"""Bundles: the manifest's schema, reading and writing them whole or not at all, golden samples. No torch here."""
