#!/usr/bin/env bash
# check-apk.sh FILE.apk MIN_SDK TARGET_SDK ABI: is this an APK that a phone takes, with everything in it?
set -euo pipefail
apk="$1" min_sdk="$2" target_sdk="$3" abi="$4"
work="$(mktemp -d)"
trap 'rm -r "$work"' EXIT
fail() { echo "check-apk: $1" >&2; exit 1; }
holds() { grep -q -- "$2" "$1" || fail "$3"; }

apksigner verify --min-sdk-version "$min_sdk" --verbose "$apk" >"$work/signature"
holds "$work/signature" "Verified using v[23] scheme (APK Signature Scheme v[23]): true" "it is not signed as Android 9 wants it"

aapt2 dump badging "$apk" >"$work/badging"
holds "$work/badging" "package: name='org.msdedge.demo' versionCode='[0-9]*' versionName='[0-9.]*'" "the package is another one"
holds "$work/badging" "dkVersion:'$min_sdk'" "the least Android version is another one"
holds "$work/badging" "targetSdkVersion:'$target_sdk'" "the target version is another one"
holds "$work/badging" "application-debuggable" "it is not debuggable, so that run-as cannot reach its files"
holds "$work/badging" "native-code: '$abi'" "its libraries are for another processor"
aapt2 dump xmltree --file AndroidManifest.xml "$apk" >"$work/manifest"
holds "$work/manifest" "org.msdedge.demo.BenchInstrumentation" "it has no BenchInstrumentation"

zipalign -c -p 4 "$apk" >/dev/null || fail "its entries are not aligned"
python3 - "$apk" <<'PYTHON'
import struct, sys, zipfile
apk = sys.argv[1]
archive, data = zipfile.ZipFile(apk), open(apk, "rb").read()
names = archive.namelist()
assert len(set(names)) == len(names), "an entry twice"
for needed in ("AndroidManifest.xml", "classes.dex", "resources.arsc", "manifest-1.json"):
    assert needed in names, f"{needed} is missing"
assert not any(name.endswith((".class", ".kotlin_module", ".kotlin_metadata")) for name in names), "files of the build"
for entry in archive.infolist():
    name, extra = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
    start = entry.header_offset + 30 + name + extra
    if entry.filename.endswith((".so", ".tflite", ".onnx")) or entry.filename == "resources.arsc":
        page = 16384 if entry.filename.endswith(".so") else 4
        assert entry.compress_type == zipfile.ZIP_STORED, f"{entry.filename} is compressed"
        assert start % page == 0, f"{entry.filename} begins at {start}, no multiple of {page}"
bundles = {name.split("/")[2] for name in names if name.startswith("assets/bundles/")}
size = len(data) / 1e6
print(f"check-apk: {apk.rsplit('/', 1)[-1]}: {size:.2f} MB, bundles: {', '.join(sorted(bundles)) or 'none'}")
assert size < 12 or len(bundles) > 1, f"{size:.2f} MB is more than 12"
PYTHON

unzip -q -o "$apk" classes.dex -d "$work"
# Its own exit code counts: a file that it cannot read has no invoke-custom either.
dexdump -d "$work/classes.dex" >"$work/code" || fail "dexdump cannot read classes.dex"
holds "$work/code" "Lorg/msdedge/demo/MainActivity;" "the activity is not in classes.dex"
holds "$work/code" "Lorg/tensorflow/lite/NativeInterpreterWrapper;" "TensorFlow Lite is not in classes.dex"
if grep -m 1 "invoke-custom\|invoke-polymorphic" "$work/code"; then fail "the code has invoke-custom, which crashes on phones"; fi
# In Java 9 these began to return the buffer's own class; a compiler that sees a newer Java's library calls them so.
if grep -m 1 -E '\.(rewind|clear|flip|mark|reset|limit|position):\([IJ]?\)Ljava/nio/[A-Z][a-z]+Buffer;' "$work/code"; then
  fail "the code calls a method that API 28 has not"
fi
echo "check-apk: signed, aligned, complete; $(grep -c 'Class descriptor' "$work/code") classes without invoke-custom"
