# Sourced by the scripts beside it: makes .venv once, installs this checkout with the extras named in $1.
# A second run with the same files finds everything in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras="$1"

python="${PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      python="$candidate"
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "msd-edge: Python 3.11, 3.12 or 3.13 is needed (PYTHON=/path/to/python names one)." >&2
  exit 2
fi

venv="${MSD_EDGE_VENV:-.venv}"
# The marker: every set of extras that was installed from these files, then the files' hash. Sets only add up, so that
# scripts that want different ones take turns without installing anything anew; `dev` has all that `all` has.
marker="$venv/.msd-edge-installed"
hash="$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)"
have=" "
if [ -f "$marker" ]; then have=" $(tr '\n' ' ' < "$marker") "; fi
if [[ "$have" != *" $hash "* ]]; then have=" "; fi
if [[ "$have" != *" $extras "* && ! ("$extras" == all && "$have" == *" dev "*) ]]; then
  start=$(date +%s)
  echo "installing the packages into $venv: some gigabytes, some minutes" >&2
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  # A folder that holds more than what is asked for now is not taken apart: extras only add up.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
  # A minute a file is not enough where many things run at once.
  UV_COMPILE_BYTECODE_TIMEOUT="${UV_COMPILE_BYTECODE_TIMEOUT:-900}" \
    "$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --constraint constraints.txt --editable ".[$extras]"
  echo ${have//"$hash"/} "$extras" "$hash" > "$marker.new"
  mv "$marker.new" "$marker"
  echo "installed the packages in $(($(date +%s) - start)) s ($venv)"
fi
export PATH="$(cd "$venv" && pwd)/bin:$PATH"
export ORT_DISABLE_TELEMETRY=1
