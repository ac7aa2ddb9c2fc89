"""What was measured, kept as small JSON files, and the pages drawn from them."""
