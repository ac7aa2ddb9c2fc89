"""Real exports on 64-bit ARM, under emulation: what the int8 files compute there and what they compute here."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from msd_edge.benchmarks.proof import RANGE_SHARE, limit_steps

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "android_demo/fixtures"
IMAGES = 32

_COMPUTE = """
import json, platform, sys
from pathlib import Path
import numpy as np
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.chain import Chain
bundle, images = read_bundle(sys.argv[1]), int(sys.argv[3])
size = bundle.manifest.input
pixels = np.frombuffer(Path(sys.argv[2]).read_bytes(), np.uint8)
pixels = pixels.reshape(-1, size.height, size.width, size.channels)[:images]
found = {}
for variant in bundle.manifest.variants:
    with Chain(bundle, variant=variant.name) as chain:
        found[variant.name] = [chain.raw_logits(image).tolist() for image in pixels]
print(json.dumps({"machine": platform.machine(), "logits": found}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "scales"])
def test_exports_compute_on_arm_what_they_compute_here(name: str) -> None:
    import numpy as np

    if not (FIXTURES / "complete").is_file():
        pytest.skip("there are no exports: scripts/android.sh makes them")
    folder = Path(os.environ.get("MSD_EDGE_ARM", Path(tempfile.gettempdir()) / f"msd-edge-arm-{os.getuid()}"))
    made = subprocess.run((str(ROOT / "scripts/arm.sh"), str(folder)), capture_output=True, text=True, check=False)
    if made.returncode == 77:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    arguments = (str(FIXTURES / "bundles" / name), str(FIXTURES / "expected" / f"{name}.u8"), str(IMAGES))
    done = subprocess.run(
        (str(folder / "bin/python"), "-c", _COMPUTE, *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["machine"] == "aarch64"
    here = json.loads((FIXTURES / "expected" / f"{name}.json").read_text())["variants"]
    assert set(told["logits"]) == {"tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"}
    for variant, values in told["logits"].items():
        there, wanted = np.array(values), np.array(here[variant]["raw"])[:IMAGES]
        assert there.shape == wanted.shape
        assert (there.argmax(axis=2) == wanted.argmax(axis=2)).all(), variant
        difference = np.abs(there - wanted).max()
        if variant == "tflite-int8":
            assert difference == 0
        elif variant == "onnx-int8":
            assert difference <= limit_steps("onnx")
        else:
            assert difference <= RANGE_SHARE * np.abs(wanted).max()
