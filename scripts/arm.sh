#!/usr/bin/env bash
# A Python for 64-bit ARM under emulation, with the light runtime: for values, never for times.
#
#   scripts/arm.sh FOLDER    unpack everything into FOLDER (~1 minute); FOLDER/bin/python is it
#
# Debian's packages for arm64, qemu's user emulation and wheels for aarch64 are unpacked into the
# folder; nothing is installed. Exit code 77: this cannot be had here; a sentence says why.
set -euo pipefail

# Later releases of LiteRT crash under Debian 12's qemu; whether they do on real processors was not tried.
WHEELS="numpy==2.2.6 ai-edge-litert==2.1.0 pydantic>=2.9,<3 onnxruntime==1.19.2"

self="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")"
repository="$(dirname "$(dirname "$self")")"
source "$(dirname "$self")/debian.sh"

[ $# = 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$self"; exit 2; }
[ "$(uname -m)" = x86_64 ] || refuse "it is written for x86-64."
mkdir -p "$1"
folder="$(cd "$1" && pwd)"

# Anew each time, since another checkout may have unpacked the folder; whole at once, since that one may be reading it.
write_wrapper() {
  cat > "$folder/bin/python.$$" <<WRAPPER
#!/bin/sh
# Threads of its own numpy and of emulation do not go together.
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONHOME='$folder/root/usr' PYTHONPATH="$folder/wheels:$repository\${PYTHONPATH:+:\$PYTHONPATH}" \\
  PYTHONDONTWRITEBYTECODE=1 exec '$folder/bin/qemu-aarch64-static' -cpu cortex-a76 -L '$folder/root' '$folder/root/usr/bin/python3.11' "\$@"
WRAPPER
  chmod +x "$folder/bin/python.$$"
  mv "$folder/bin/python.$$" "$folder/bin/python"
}

if ! begin "$folder" "$self"; then
  write_wrapper
  exit 0
fi
unpack bookworm amd64 "$folder/qemu" qemu-user-static
unpack bookworm arm64 "$folder/root" python3.11-minimal libpython3.11-stdlib libstdc++6 libgomp1 zlib1g
mkdir -p "$folder/bin"
mv "$folder/qemu/usr/bin/qemu-aarch64-static" "$folder/bin/"
rm -rf "$folder/qemu" "$folder/wheels"
work="$(mktemp -d "$folder/work.XXXXXX")"
python="$repository/.venv/bin/python"
[ -x "$python" ] || python=python3
# shellcheck disable=SC2086  # the wheels are words
"$python" -m pip download --quiet --disable-pip-version-check --dest "$work/wheels" --only-binary :all: \
  --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none --platform any \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
  --platform manylinux2014_aarch64 $WHEELS > "$work/log" 2>&1 ||
  refuse "the wheels cannot be had: $(tail -1 "$work/log")"
mkdir -p "$folder/wheels"
for wheel in "$work"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$folder/wheels"; done
write_wrapper
rm -rf "$work"
finish "$folder"
