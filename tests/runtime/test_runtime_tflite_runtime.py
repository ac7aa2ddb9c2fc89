"""tflite-runtime, the runtime of old boards: it needs numpy below 2 and Python 3.11, so it gets its own environment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = Path(__file__).parents[2]
SCRIPT = """
import dataclasses, json, sys
import numpy as np
from msd_edge import open_bundle
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import read_bundle
from msd_edge.runtime.golden_check import check_golden
from msd_edge.runtime.open import installed

found = {"installed": installed("tflite"), "numpy": np.__version__}
for variant in ("tflite-float32", "tflite-int8"):
    bundle = read_bundle(sys.argv[1])
    found[variant] = dataclasses.asdict(check_golden(bundle, variant))
    with open_bundle(sys.argv[1], variant=variant, point="fast") as cascade:
        found[variant]["exits"] = [cascade.predict(image).exit for image in read_golden(bundle).images]
        found["runtime"] = f"{cascade.runtime} {cascade.runtime_version}"
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the last tflite-runtime is for Python 3.11")
def test_golden_logits_on_tflite_runtime(tiny_bundle: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    packages = ["tflite-runtime==2.14.0", "numpy<2", "pillow", "pydantic>=2.9,<3"]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(install, check=True)
    ran = subprocess.run(
        [python, "-c", SCRIPT, tiny_bundle], env={"PYTHONPATH": str(CODE)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    found = json.loads(ran.stdout)
    assert found["installed"] == ["tflite-runtime"]
    assert found["runtime"] == "tflite-runtime 2.14.0"
    assert found["numpy"].startswith("1.")
    assert found["tflite-float32"]["max_difference"] < 1e-4
    assert found["tflite-float32"]["top1_agreement"] == 1
    assert found["tflite-int8"]["max_difference"] <= 3  # its older kernels round otherwise
    assert len(set(found["tflite-int8"]["exits"])) > 1
