"""The app: ``scripts/android.sh`` builds and tests it; here what needs no build."""

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "android_demo"


def _strings(path: Path) -> dict[str, str]:
    return dict(re.findall(r'<(?:string|plurals|color) name="(\w+)"[^>]*>(.*?)</', path.read_text(), re.S))


def test_every_colour_has_a_dark_one() -> None:
    values = APP / "app/src/main/res"
    assert _strings(values / "values/colors.xml").keys() == _strings(values / "values-night/colors.xml").keys()


def test_no_text_stands_in_a_layout() -> None:
    for layout in (APP / "app/src/main/res").glob("layout*/*.xml"):
        texts = re.findall(r'android:(?:text|contentDescription)="([^"]*)"', layout.read_text())
        assert all(text.startswith("@string/") for text in texts), layout


def test_the_cascade_knows_nothing_of_android() -> None:
    files = [*(APP / "cascade").rglob("*.kt"), *(APP / "runners").rglob("*.kt")]
    assert len(files) > 25
    for file in files:
        assert not re.search(r"^import (android|androidx)\.", file.read_text(), re.M), file


def test_the_stand_in_says_that_it_is_not_built(tmp_path: Path) -> None:
    script = tmp_path / "stand-in"
    shutil.copy(APP / "maven/stand-in", script)
    done = subprocess.run([script, "files", "config", "nonce"], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert done.stderr == "stand-in: not built yet; run scripts/android.sh.\n"


def test_ci_runs_the_apps_tests() -> None:
    assert '"$scripts/android.sh"' in (ROOT / ".ci/run").read_text()
