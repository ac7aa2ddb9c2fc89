"""How the command starts, and what ``import msd_edge`` says where packages are missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.light import hide_packages

import msd_edge
from msd_edge.errors import ConfigError, RuntimeUnavailable
from msd_edge.runtime.open import open_session

# Ctrl-C while the command line is imported.
STOPPED = """
import sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "msd_edge.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop())
from msd_edge.__main__ import main
main()
"""


def test_ctrl_c_while_modules_are_imported_is_one_sentence() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "msd-edge: interrupted.\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("load", "loading a run needs torch and safetensors: pip install 'msd-edge[train]'."),
        ("add_exits", "adding exits needs torch: pip install 'msd-edge[train]'."),
    ],
)
def test_the_light_install_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    hide_packages(monkeypatch, "torch", "safetensors")
    with pytest.raises(RuntimeUnavailable) as raised:
        getattr(msd_edge, name)
    assert str(raised.value) == said


def test_threads_are_not_spelled_as_an_option_in_python() -> None:
    with pytest.raises(ConfigError, match=r"^0 threads: at least 1 is needed"):
        open_session(b"", "tflite", threads=0)


WRONG = """
import sys
from msd_edge.cli.app import run

assert run(sys.argv[1:]) == 2
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--method", "msdd"], "did you mean msd?"),
        (["train", "--resume", "runs/nope"], "runs/nope/run.json: there is no such run."),
        (["export", "runs/one", "--target", "tfllite"], "did you mean tflite?"),
        (["export", "runs/one"], "bundles/one is there already; --overwrite replaces it."),
    ],
)
def test_simple_mistakes_are_answered_before_torch_is_imported(tmp_path: Path, words: list[str], said: str) -> None:
    for name in ("runs/one/run.json", "bundles/one/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    command = [sys.executable, "-c", WRONG, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
