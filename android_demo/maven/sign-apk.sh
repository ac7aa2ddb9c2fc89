#!/usr/bin/env bash
# sign-apk.sh IN.apk OUT.apk: signs with a debug key, which is made once and kept beside the poms (never committed):
# a phone takes an update only when it is signed by the same key.
set -euo pipefail
key="$(dirname "${BASH_SOURCE[0]}")/debug.p12"
if [ ! -f "$key" ]; then
  keytool -genkeypair -keystore "$key" -storetype PKCS12 -storepass android -alias debug -dname CN=debug \
    -keyalg RSA -keysize 2048 -validity 10000 2>/dev/null
fi
apksigner sign --ks "$key" --ks-pass pass:android --out "$2" "$1"
