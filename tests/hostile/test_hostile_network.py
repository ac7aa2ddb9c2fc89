"""Nobody is called: every step of the way works where no socket can be opened, and none is tried."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.report_data import results as make_results
from support.report_data import save_results
from support.small_run import write_stripes

# In every Python of the work, workers included: whatever would reach another machine is written down and refused.
GUARD = """
import os, socket

def refuse(kind):
    def call(*arguments, **more):
        with open(os.environ["SOCKET_LOG"], "a") as log:
            log.write(f"{kind} {arguments} in process {os.getpid()}\\n")
        raise OSError("no network here")
    return call

for name in ("connect", "connect_ex", "bind", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse(name))
for name in ("create_connection", "create_server", "getaddrinfo", "gethostbyname"):
    setattr(socket, name, refuse(name))
with open(os.environ["SOCKET_LOG"] + ".guarded", "a") as log:
    log.write(f"{os.getpid()}\\n")
"""
# Native libraries call nobody through Python: a network of its own holds them, where the system gives one.
ALONE = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    return tmp_path


def call(place: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(place / "guard"),
        "SOCKET_LOG": str(place / "sockets"),
        "OMP_NUM_THREADS": "1",
    }
    command = [*(["unshare", "-rn"] if ALONE else []), sys.executable, "-m", "msd_edge", *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def said(place: Path) -> str:
    assert (place / "sockets.guarded").read_text().count("\n") >= 1, "the guard was not there"
    return (place / "sockets").read_text() if (place / "sockets").exists() else ""


def test_the_guard_is_one(place: Path) -> None:
    code = "import urllib.request as u; u.urlopen('http://127.0.0.1:9', timeout=1)"
    environment = {**os.environ, "PYTHONPATH": str(place / "guard"), "SOCKET_LOG": str(place / "sockets")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "no network here" in done.stderr
    assert "create_connection" in said(place) or "getaddrinfo" in said(place)


def test_predict_and_report_call_nobody(place: Path, tiny_bundle: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(place / "a.png")
    save_results(place / "results/desk.json", make_results())
    for variant in ("tflite-int8", "onnx-int8"):
        assert "exit" in call(place, "predict", str(tiny_bundle), "a.png", "--variant", variant)
    call(place, "report", "--markdown", "r.md", "--csv", "r.csv")
    call(place, "doctor")
    assert said(place) == ""


@pytest.mark.slow
def test_the_whole_way_calls_nobody(place: Path) -> None:
    write_stripes(place / "d.npz", 300, 60)
    call(
        place,
        "train",
        "--data",
        "d.npz",
        "--arch",
        "resnet8",
        "--width",
        "8",
        "--epochs",
        "2",
        "--calibration-share",
        "0.3",
    )
    call(place, "export", "--int8", "--target", "tflite", "--target", "onnx", "--max-drop", "100")
    call(place, "calibrate", "--images", "60")
    call(place, "bench", "--seconds", "0", "--images", "30")
    call(place, "eval", "bundles/resnet8-d", "--split", "test")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(place / "a.png")
    call(place, "predict", "bundles/resnet8-d", "a.png")
    call(place, "report")
    assert said(place) == ""
