#!/usr/bin/env bash
# Builds and tests the Android app: bundles by the Python side, then one Maven build that ends with a signed, checked APK,
# then what the Python side tests with it. CI runs it after scripts/test.sh.
#
#   scripts/android.sh [--keep-fixtures] [MAVEN OPTION...]
#
# --keep-fixtures takes the bundles of the last run; -o works offline once everything is there. What is missing of JDK 17,
# Maven and Android's tools is installed where this is root on Debian or Ubuntu, and named in a sentence elsewhere.
# Exit codes: 1 something failed, 2 this machine lacks something, 3 packages cannot be downloaded.
refuse() { # CODE WORDS
  local code="$1"
  shift
  echo "android.sh: $*" >&2
  exit "$code"
}

[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || refuse 2 "the app's tests need Linux on x86-64; Android Studio builds it elsewhere."
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
root="$PWD/android_demo"
keep=""
if [ "${1:-}" = "--keep-fixtures" ]; then
  keep=yes
  shift
fi
start=$(date +%s)

# Of several JDKs this one, whichever is the default.
use_java() {
  local home
  if javac -version 2>&1 | grep -q '^javac 17\.' && [ -z "${JAVA_HOME:-}" ]; then return 0; fi
  for home in "${JAVA_HOME:-/none}" /usr/lib/jvm/java-17-openjdk-* /usr/lib/jvm/java-17*; do
    if "$home/bin/javac" -version 2>&1 | grep -q '^javac 17\.'; then
      export JAVA_HOME="$home" PATH="$home/bin:$PATH"
      return 0
    fi
  done
  return 1
}

missing=()
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || missing+=("$2")
}
need aapt2 aapt
need zipalign zipalign
need apksigner apksigner
need dexdump dexdump
need mvn maven
need unzip unzip
use_java || missing+=(openjdk-17-jdk-headless)
[ -f /usr/share/android-framework-res/framework-res.apk ] || missing+=(android-framework-res)
if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    refuse 2 "the Android build needs: apt-get install ${missing[*]}"
  fi
  log="$(mktemp)"
  if ! { apt-get -o Acquire::Retries=3 update && DEBIAN_FRONTEND=noninteractive \
    apt-get -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    refuse 3 "apt-get cannot install ${missing[*]}: $(grep -m 1 '^E:' "$log" || tail -1 "$log")"
  fi
  rm "$log"
  use_java || refuse 2 "JDK 17 is needed, and no other; JAVA_HOME=/path/to/it names one."
  echo "installed ${missing[*]} in $(($(date +%s) - start)) s"
fi

begun=$(date +%s)
if [ -z "$keep" ] || [ ! -f "$root/fixtures/complete" ]; then
  python "$root/maven/make_fixtures.py" "$root/fixtures"
  touch "$root/fixtures/complete"
  echo "made the bundles in $(($(date +%s) - begun)) s"
fi

# Downloads of hundreds of files break off now and then: what has arrived stays, and the build is begun again. What it says
# when it cannot download is told apart from tests that fail.
lost='Could not transfer artifact|Could not transfer metadata|Could not find artifact|status: 5[0-9][0-9]|in offline mode'
log="$root/target/maven.log"
mkdir -p "$root/target"
begun=$(date +%s)
for try in 1 2 3 4; do
  again=()
  [ "$try" = 1 ] || again=(-U) # what failed before is asked for again
  if (cd "$root" && mvn -B -ntp -Dstyle.color=never -Dmaven.wagon.http.retryHandler.count=3 "${again[@]}" "$@" clean verify) 2>&1 | tee "$log"; then
    break
  fi
  why="$(grep '^\[ERROR\]' "$log" | grep -m 1 -oE "($lost).*" | cut -c 1-240 || true)"
  [ -n "$why" ] || refuse 1 "the app's build or a test of it failed; above is what Maven says."
  [ "$try" != 4 ] && [[ "$why" != *offline* ]] || refuse 3 "Maven's packages cannot be downloaded, nothing is known of the app: $why"
  echo "android.sh: a download broke off, once more in $((try * 10)) s: $why" >&2
  sleep $((try * 10))
done
echo "built and tested the app in $(($(date +%s) - begun)) s"

# A test runner that finds no tests calls that success: so they are counted. So are the pictures that they take.
python - "$root" <<'PYTHON'
import sys, xml.etree.ElementTree as tree
from pathlib import Path

root = Path(sys.argv[1])
wanted = {"cascade": 21, "runners": 7, "maven/stand-in-jvm": 8, "maven/embedding": 1, "maven/gradle-check": 4, "app": 28}
screens = (
    "camera camera-refused dark deployed-onnx early-exit error first-sight gallery gpu gpu-refused landscape loading "
    "no-bundle sample small-large-type tablet"
).split()
found = {}
for module in wanted:
    suites = [tree.parse(file).getroot() for file in (root / module / "target/surefire-reports").glob("TEST-*.xml")]
    found[module] = sum(int(s.get("tests")) - int(s.get("skipped")) for s in suites)
    if any(int(s.get("failures")) + int(s.get("errors")) for s in suites):
        sys.exit(f"android.sh: tests of {module} failed")
if found != wanted:
    sys.exit(f"android.sh: {found} tests ran, not {wanted}; change the number here when you add a test.")
taken = sorted(file.stem for file in (root / "app/target/screenshots").glob("*.png"))
if taken != screens:
    sys.exit(f"android.sh: screenshots {taken}, not {screens}; change the list here when you add one.")
print(f"{sum(found.values())} passed, 0 failed; {len(taken)} screenshots in app/target/screenshots")
PYTHON

# What needs the app's classes or real exports: a bench over a real adb daemon with the app's classes on a JVM as the phone,
# and the values of 64-bit ARM. Where a daemon or an emulator cannot be had they are left out, with the reason.
pytest -q -m "" -rs tests/android tests/cli/test_cli_phone_jvm.py
echo "the app: $root/app/target/msd-edge-demo.apk ($(($(date +%s) - start)) s)"
