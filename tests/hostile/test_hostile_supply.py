"""What is shipped and what it stands on is named, licences included."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_that_is_needed_has_its_licence_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[\[<>=!;~ ]", name, maxsplit=1)[0].lower() for name in wanted} - {"msd-edge"}
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    rows = {
        name.strip(): line.split("|")[3].strip()
        for line in text.splitlines()
        if line.startswith("| ") and line.count("|") == 4
        for name in line.split("|")[1].split(",")
    }
    assert sorted(names - rows.keys()) == []
    assert all(rows[name] for name in names)


def test_onnxruntime_that_sends_telemetry_is_not_installed_and_is_silenced() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["onnx"] == ["onnxruntime>=1.20,<1.29"]
    for file in ("msd_edge/cli/app.py", "msd_edge/runtime/onnx.py"):
        assert 'ORT_DISABLE_TELEMETRY", "1"' in (ROOT / file).read_text(encoding="utf-8") or (
            'ORT_DISABLE_TELEMETRY"] = "1"' in (ROOT / file).read_text(encoding="utf-8")
        )
