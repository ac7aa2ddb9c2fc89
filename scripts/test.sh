#!/usr/bin/env bash
# Lint, types and tests. Slow tests run too with --all, and in CI.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
marks="not slow"
if [ "${1:-}" = "--all" ] || [ "${CI:-}" = "true" ]; then marks=""; fi
ruff check .
ruff format --check .
mypy

# The networks of the tests are small: threads that wait for each other take more time than they save, ten times as much
# on a machine with other work. A second processor takes the second half of the tests instead.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
half=(tests/converters tests/models)
# nproc would count no further than that variable says.
if [ "$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 1)" -lt 2 ]; then exec pytest -q -m "$marks"; fi
log="$(mktemp)"
pytest -q -p no:cacheprovider -m "$marks" "${half[@]}" > "$log" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null || true; rm -f "$log"' EXIT
code=0
pytest -q -m "$marks" "${half[@]/#/--ignore=}" || code=$?
wait "$other" || code=$?
echo "== ${half[*]}"
cat "$log"
exit "$code"
