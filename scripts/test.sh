#!/usr/bin/env bash
# Lint, types and tests. Slow tests run too with --all, and in CI.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
marks="not slow"
if [ "${1:-}" = "--all" ] || [ "${CI:-}" = "true" ]; then marks=""; fi
ruff check .
ruff format --check .
mypy

# The networks of the tests are small: threads that wait for each other take more time than they save, ten times as much
# on a machine with other work. A second processor takes half of the tests instead, in two processes one after the other:
# torch's compiler does not bear TensorFlow in its process, which the converters bring.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
compiler=(tests/training)
converters=(tests/converters tests/models)
# nproc would count no further than that variable says.
if [ "$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 1)" -lt 2 ]; then exec pytest -q -m "$marks"; fi

log="$(mktemp)"
second() { # the second half; ends with the process that runs it
  local code=0
  for part in "${compiler[*]}" "${converters[*]}"; do
    echo "== $part"
    # shellcheck disable=SC2086  # several folders
    pytest -q -p no:cacheprovider -m "$marks" $part & running=$!
    wait "$running" || code=$?
  done
  return "$code"
}
(
  trap 'kill "$running" 2>/dev/null || true; exit 143' TERM
  second
) > "$log" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null || true; rm -f "$log"' EXIT
code=0
here=("${compiler[@]}" "${converters[@]}")
pytest -q -m "$marks" "${here[@]/#/--ignore=}" || code=$?
wait "$other" || code=$?
cat "$log"
exit "$code"
