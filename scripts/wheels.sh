#!/usr/bin/env bash
# Build the wheel and the sdist, and use them as somebody with a small board would: without torch.
#
#   scripts/wheels.sh           the oldest and the newest Python that are here, lowest and highest versions of everything
#   scripts/wheels.sh --light   one Python (that of .venv), both resolutions: for every change
#
# PYTHONS="3.11 3.13" names other versions; one that is not installed is left out with a word. Needs the package index.
# Exit codes: 1 something failed, 3 the package index cannot be reached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
start=$(date +%s)
venv="$(cd "${MSD_EDGE_VENV:-.venv}" && pwd)"
uv="$venv/bin/uv"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export UV_NO_PROGRESS=1 ORT_DISABLE_TELEMETRY=1

get() { # get ARGUMENTS...: run uv; what is wrong with the package index or the way there says nothing about the wheel
  local said
  if said="$("$uv" "$@" 2>&1)"; then return 0; fi
  echo "$said" >&2
  if echo "$said" | grep -qiE 'failed to fetch|failed to download|error sending request|dns error|timed out|connect|status (server|client) error'; then
    echo "wheels.sh: the package index cannot be reached, so the wheel was NOT used here." >&2
    exit 3
  fi
  exit 1
}

# The sdist first, then the wheel from it: what the sdist lacks, the wheel lacks.
get build --quiet --python "$venv/bin/python" --out-dir "$work/dist" .
wheel="$(ls "$work"/dist/*.whl)"
"$venv/bin/python" scripts/check_wheel.py "$wheel" "$(ls "$work"/dist/*.tar.gz)"

# A bundle with real files, made where everything is installed; images of its size and of another.
PYTHONPATH="$PWD/tests" "$venv/bin/python" - "$work" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from support import tinynet
from support.bundles import make_bundle

work = Path(sys.argv[1])
make_bundle(work / "bundle", variants=("tflite-int8", "tflite-float32"))
Image.fromarray(tinynet.make_images(1, 3)[0]).save(work / "small.png")
Image.fromarray(np.zeros((40, 60), np.uint8)).save(work / "grey.jpg")
PYTHON

use() { # use VERSION PYTHON RESOLUTION: install the wheel alone, predict, then the tests of what works without torch
  local version="$1" python="$2" resolution="$3" place="$work/$1-$3"
  echo "== Python $version, $resolution versions"
  "$uv" venv --quiet --python "$python" "$place"
  # What the wheel needs is named directly, since the lowest of what that needs in turn was never meant to work.
  get pip install --quiet --python "$place/bin/python" --only-binary :all: --resolution "$resolution" --requirements pyproject.toml
  "$uv" pip install --quiet --python "$place/bin/python" --no-deps "$wheel"
  "$uv" pip check --quiet --python "$place/bin/python"
  "$uv" pip list --python "$place/bin/python" 2>/dev/null | grep -iE '^(numpy|pillow|pydantic|typer|ai-edge-litert) ' |
    awk '{printf "%s %s  ", $1, $2} END {print ""}'
  (
    cd "$work"
    export PATH="$place/bin:$PATH"
    python -c "import importlib.util as u, sys; sys.exit(any(u.find_spec(m) for m in ('torch', 'tensorflow', 'onnx')))"
    msd-edge doctor > /dev/null
    code=0
    msd-edge > help.txt || code=$?  # releases of typer and click differ in this; ours must not
    [ "$code" = 2 ]
    grep -q '^Usage: msd-edge' help.txt
    msd-edge predict bundle small.png grey.jpg
    msd-edge predict bundle small.png --variant tflite-float32 --json > /dev/null
    refuse 2 "bundle: tflite-int8 has no operating point 'losless'; did you mean lossless?" predict bundle small.png --point losless
    refuse 2 "did you mean --threads?" predict bundle small.png --treads 2
    refuse 2 "--threads two: give a whole number from 1 to 1024." predict bundle small.png --threads two
    refuse 2 "predikt: there is no such command; did you mean predict?" predikt
    refuse 1 "pip install 'msd-edge[train]'" train
  )
  # The tests stand outside the package; they need a few tools to make their files. The schema is published with one
  # version of pydantic, whose wording it has.
  get pip install --quiet --python "$place/bin/python" --only-binary :all: \
    pytest pytest-timeout hypothesis jsonschema onnx 'onnxruntime>=1.20,<1.29'
  (cd "$work" && rm -rf tests && cp -r "$OLDPWD/tests" "$OLDPWD/docs" . && cp "$OLDPWD/pyproject.toml" . &&
    "$place/bin/python" -m pytest -q -o filterwarnings=default -m "not slow" \
      --ignore tests/bundle/test_bundle_schema.py tests/test_files.py tests/bundle tests/cli/test_cli_predict.py tests/exits/test_exits_rules.py \
      tests/runtime/test_runtime_cascade.py tests/runtime/test_runtime_preprocess.py)
}

refuse() { # refuse CODE WORDS ARGUMENTS...: msd-edge must answer with that code and a sentence that has these words
  local code="$1" words="$2" said found=0
  shift 2
  said="$(msd-edge "$@" 2>&1 >/dev/null)" || found=$?
  if [ "$found" != "$code" ] || [ "${said/"$words"/}" = "$said" ] || [ "$(echo "$said" | wc -l)" != 1 ]; then
    echo "msd-edge $*: exit code $found instead of $code, or not the sentence: $said" >&2
    exit 1
  fi
}

if [ "${1:-}" = "--light" ]; then
  pythons="$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
else
  pythons="${PYTHONS:-3.11 3.13}"
fi
for version in $pythons; do
  # A shim on the PATH may stand for a version that is installed and not chosen: its folder is asked as well.
  python=""
  for candidate in "$("$uv" python find --no-python-downloads "$version" 2>/dev/null || true)" \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python; do
    if [ -x "$candidate" ] && "$candidate" -c 'import venv' 2>/dev/null; then python="$candidate"; break; fi
  done
  if [ -z "$python" ]; then
    echo "== Python $version is not here: left out"
    continue
  fi
  for resolution in lowest-direct highest; do use "$version" "$python" "$resolution"; done
done
echo "all of it in $(($(date +%s) - start)) s"
