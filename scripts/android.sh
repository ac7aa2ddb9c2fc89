#!/usr/bin/env bash
# Builds and tests the Android app: bundles by the Python side, then one Maven build that ends with a signed, checked APK.
# --keep-fixtures takes the bundles of the last run; other arguments go to Maven (-o: offline, once everything is there).
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" all
root="$PWD/android_demo"
keep=""
if [ "${1:-}" = "--keep-fixtures" ]; then
  keep=yes
  shift
fi

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
if ! javac -version 2>&1 | grep -q '^javac 17\.'; then missing+=(openjdk-17-jdk-headless); fi
[ -f /usr/share/android-framework-res/framework-res.apk ] || missing+=(android-framework-res)
if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "msd-edge: the Android build needs: apt-get install ${missing[*]}" >&2
    exit 2
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

start=$(date +%s)
if [ -z "$keep" ] || [ ! -d "$root/fixtures/assets" ]; then
  python "$root/maven/make_fixtures.py" "$root/fixtures"
  echo "made the bundles in $(($(date +%s) - start)) s"
fi

cd "$root"
mvn -B -Dstyle.color=never "$@" clean verify

# A test runner that finds no tests calls that success: so they are counted.
python - "$root" <<'PYTHON'
import sys, xml.etree.ElementTree as tree
from pathlib import Path

root = Path(sys.argv[1])
wanted = {"cascade": 20, "runners": 7, "maven/stand-in-jvm": 7, "maven/embedding": 1, "maven/gradle-check": 4, "app": 26}
found = {}
for module in wanted:
    suites = [tree.parse(file).getroot() for file in (root / module / "target/surefire-reports").glob("TEST-*.xml")]
    found[module] = sum(int(s.get("tests")) - int(s.get("skipped")) for s in suites)
    if any(int(s.get("failures")) + int(s.get("errors")) for s in suites):
        sys.exit(f"android: tests of {module} failed")
if found != wanted:
    sys.exit(f"android: {found} tests ran, not {wanted}; change the number here when you add a test.")
print(f"{sum(found.values())} passed, 0 failed")
PYTHON
echo "the app: $root/app/target/msd-edge-demo.apk ($(($(date +%s) - start)) s)"
