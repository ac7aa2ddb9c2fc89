#!/usr/bin/env bash
# Lint, types and tests. Slow tests run too with --all, and in CI.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
marks="not slow"
if [ "${1:-}" = "--all" ] || [ "${CI:-}" = "true" ]; then marks=""; fi
ruff check .
ruff format --check .
mypy
pytest -q -m "$marks"
