"""Fuzzers of everything that parses what comes from outside: ``python fuzz/run.py --cases N``."""
