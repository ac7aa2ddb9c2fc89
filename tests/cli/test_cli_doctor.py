"""``msd-edge doctor``: what runs, what is missing, what mends it."""

import json
import subprocess
import sys
from typing import Any

import pytest

from msd_edge.cli import doctor
from msd_edge.cli.app import run
from msd_edge.cli.doctor import Ability, check_abilities, find_problems

BASE = {"numpy": "2.4.6", "pillow": "13.0.0", "pydantic": "2.11.10", "typer": "0.29.2", "rich": "15.0.0"}
TRAIN = {"torch": "2.14.1", "torchvision": "0.29.1", "safetensors": "0.8.0", "scikit-learn": "1.9.1"}
LITERT = {"ai-edge-litert": "2.3.0"}


def by_name(versions: dict[str, str], system: str = "linux") -> dict[str, Ability]:
    return {ability.name: ability for ability in check_abilities(versions, system)}


def test_it_tells_what_is_here(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out, err = capfd.readouterr()
    for words in ("msd-edge", "python", "cpu", "int8", "bf16", "threads", "affinity", "control group", "numpy"):
        assert words in out
    assert err == ""


def test_json_for_machines(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["runs"] is True
    assert told["packages"]["numpy"]
    assert told["cores"]["allowed"] >= 1
    assert {ability["name"] for ability in told["abilities"]} >= {"report", "train, eval a run"}


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; from msd_edge.cli.app import run; code = run(['doctor']); "
        "heavy = {'torch', 'tensorflow', 'onnxruntime', 'ai_edge_litert', 'sklearn', 'onnx'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_light_runner_alone_can_predict_and_the_rest_has_its_command() -> None:
    found = by_name({**BASE, **LITERT})
    assert found["predict, calibrate, bench: TFLite"].works
    assert found["predict, calibrate, bench: TFLite"].mend == ""
    onnx = found["predict, calibrate, bench: ONNX"]
    assert (onnx.works, onnx.missing, onnx.mend) == (
        False,
        ("onnxruntime or onnxruntime-gpu",),
        "pip install 'msd-edge[onnx]'",
    )
    assert found["train, eval a run"].missing == tuple(TRAIN)
    assert found["train, eval a run"].mend == "pip install 'msd-edge[train]'"
    assert found["report"].mend == "pip install 'msd-edge[report]'"
    assert "litert-torch" in found["export --target tflite"].missing
    assert found["export --target tflite"].mend == "pip install 'msd-edge[export]'"


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime", "tensorflow", "tensorflow-cpu"])
def test_any_tflite_runtime_will_do(runtime: str) -> None:
    assert by_name({**BASE, runtime: "1.0"})["predict, calibrate, bench: TFLite"].works


def test_export_to_tflite_is_for_linux() -> None:
    everything = {**BASE, **TRAIN, **LITERT, "litert-torch": "0.10.0", "ai-edge-quantizer": "0.10.0"}
    assert by_name(everything)["export --target tflite"].works
    elsewhere = by_name(everything, "win32")["export --target tflite"]
    assert not elsewhere.works
    assert elsewhere.missing == ("Linux",)
    assert "container" in elsewhere.mend


def test_without_any_runtime_the_exit_code_is_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "find_packages", lambda: dict(BASE))
    assert run(["doctor"]) == 1
    out = capfd.readouterr().out
    assert "lacks ai-edge-litert or tflite-runtime or tensorflow or tensorflow-cpu → pip install 'msd-edge'" in out
    assert run(["doctor", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["runs"] is False


@pytest.mark.parametrize(
    ("versions", "settings", "words"),
    [
        (
            {"tflite-runtime": "2.14.0", "numpy": "2.1.0"},
            {},
            "cannot work with numpy 2.1.0: pip install ai-edge-litert",
        ),
        ({"onnxruntime": "1.29.0"}, {"ORT_DISABLE_TELEMETRY": "1"}, "sets it for itself"),
        ({"onnxruntime": "1.30.1"}, {"ORT_DISABLE_TELEMETRY": "0"}, "finds it set otherwise"),
        (
            {"onnxruntime": "1.15.1"},
            {},
            "is older than 1.16, the oldest that export's ONNX files (opset 18, IR version 8)",
        ),
        ({"litert-torch": "0.10.0", "torch": "2.15.0+cpu"}, {}, "needs torch below 2.15, found 2.15.0+cpu"),
    ],
)
def test_known_clashes_are_told_with_what_mends_them(
    versions: dict[str, str], settings: dict[str, str], words: str
) -> None:
    (found,) = find_problems(versions, settings)
    assert words in found
    assert "pip install" in found


@pytest.mark.parametrize(
    "versions",
    [
        {"tflite-runtime": "2.14.0", "numpy": "1.26.4"},
        {"onnxruntime": "1.28.0"},
        {"onnxruntime": "1.16.3"},
        {"litert-torch": "0.10.0", "torch": "2.14.1+cpu"},
        {"onnxruntime": "odd"},
        {},
    ],
)
def test_what_works_together_gives_no_remark(versions: dict[str, str]) -> None:
    assert find_problems(versions, {}) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--arch", "vgg11", "--image-size", "3"], "does not run on images (3, 3, 3)"),
        (["--arch", "resnet8", "--width", "5000"], "--width 5000: give a whole number from 1 to 4096"),
        (["--arch", "resnet8", "--exits-at", "9:9"], "--exits-at 9:9: resnet8 has no such block"),
    ],
)
def test_a_network_that_cannot_be_is_wrong_input(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_network_is_told_by_the_same_options_as_in_train(capsys: pytest.CaptureFixture[str]) -> None:
    def cost(*options: str) -> dict[str, Any]:
        assert run(["doctor", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)["exits"][0]

    plain = cost("--arch", "resnet8", "--width", "8", "--branch", "separable")
    narrow = cost("--arch", "resnet8", "--width", "8", "--branch", "separable", "--branch-width", "0.5")
    grey = cost("--arch", "resnet8", "--width", "8", "--branch", "separable", "--grey")
    assert narrow["branch_macs"] < plain["branch_macs"]
    assert grey["macs"] < plain["macs"]
    # Six blocks a stage: every second one is three in a branch where one was.
    deep = ("--arch", "resnet38", "--width", "4", "--exits-at", "1:3", "--image-size", "16")
    assert cost(*deep, "--branch-interval", "2")["branch_macs"] > cost(*deep)["branch_macs"]
    thin, wide = (cost("--arch", "msdnet", "--arch-option", f"growth={growth}") for growth in (4, 8))
    assert thin["macs"] < wide["macs"]


def test_grey_images_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--arch", "resnet8", "--grey", "--image-size", "28"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("network  resnet8, 3 exits, images 28×28 grey\n")
    assert "alone MACs  chain MACs  branch MACs" in out


def test_an_exit_as_dear_as_the_next_is_named_with_the_places_that_mend_it(capsys: pytest.CaptureFixture[str]) -> None:
    network = ("--arch", "mobilenetv1", "--width", "8", "--branch", "separable")
    assert run(["doctor", *network]) == 0
    told = "exit 1 at 1:1 costs as much as exit 2 at 3:2, each alone; --exits-at 2:1,3:2 spreads them."
    assert told in capsys.readouterr().err
    assert run(["doctor", *network, "--exits-at", "2:1,3:2"]) == 0
    assert "costs as much as exit" not in capsys.readouterr().err
