"""The frame of the command line: help, versions, wrong words, configuration files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from msd_edge.cli import app as app_module
from msd_edge.cli.app import run

VERBS = ("train", "eval", "export", "calibrate", "predict", "bench", "report", "doctor")


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "msd_edge", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from msd_edge.cli.app import run; run(['--help']); "
        "heavy = {'torch', 'tensorflow', 'numpy', 'onnx', 'onnxruntime', 'ai_edge_litert', 'PIL', 'sklearn'}; "
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"msd-edge {verb}" in text
    assert "--verbose" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import msd_edge

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"msd-edge {msd_edge.__version__}\n"


def test_no_arguments_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "trian: there is no such command; did you mean train?"),
        (["train", "--epoch", "3"], "--epoch: `msd-edge train` has no such option; did you mean --epochs?"),
        (["train", "--epochs", "three"], "--epochs three: give a whole number from 1 on."),
        (["train", "--epochs", "0"], "--epochs 0: give a whole number from 1 on."),
        (["train", "--arch", "resnt20"], "--arch resnt20: no such network; did you mean resnet20?"),
        (["train", "--method", "msg"], "did you mean msd?"),
        (["train", "--schedule", "cosin"], "did you mean cosine?"),
        (["train", "--precision", "int8"], "no such choice"),
        (["train", "--compute", "tpu"], "no such choice"),
        (["train", "--data", "cifar11"], "cifar10"),
        (["train", "--data", "nowhere.npz"], "nowhere.npz"),
        (["train", "--exits", "11"], "1 to 10 exits"),
        (["train", "--exits-at", "5:1"], "no such block"),
        (["train", "--exits", "4", "--exits-at", "1:1"], "give one of them"),
        (["train", "--image-size", "0x3"], "--image-size 0x3"),
        (["train", "--resume"], "there is no run here"),
        (["train", "--resume", "--arch", "resnet8"], "does not take --arch"),
        (["eval"], "there is no run here"),
        (["eval", "--split", "train"], "calibration, test"),
        (["eval", "nowhere"], "neither a run"),
        (["export"], "there is no run here"),
        (["export", "nowhere"], "neither a run"),
        (["calibrate"], "there is no bundle here"),
        (["bench"], "there is no bundle here"),
        (["report", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_words_get_one_sentence_and_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("msd-edge: ")
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["eval", "nowhere", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_while_a_class_is_being_made_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python 3.11 wraps what ``__set_name__`` raises in a RuntimeError; libraries being imported are full of such."""

    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def command(*_arguments: object, **_more: object) -> None:
        try:
            type("Library", (), {"attribute": Interrupting()})
        except KeyboardInterrupt as stop:  # later Pythons pass it on as it is
            raise RuntimeError("Error calling __set_name__") from stop

    monkeypatch.setattr(app_module, "app", command)
    assert run(["doctor", "--verbose"]) == 130
    assert capsys.readouterr().err == "msd-edge: interrupted.\n"


def test_what_differs_from_the_usual_training_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = ["--arch", "resnet8", "--width", "4"]
    changed = ["--cutout", "3", "--label-smoothing", "0.2", "--ema", "0.9", "--weight-decay", "0.001", "--whiten"]
    assert run(["train", "--dry-run", *network]) == 0
    usual = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("method"))
    assert run(["train", "--dry-run", *network, *changed]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("method"))
    added = " · first layer whitened · label smoothing 0.2 · cutout 3 · averaged by 0.9 · weight decay 0.001"
    assert told == usual.replace(" · seed 0", f"{added} · seed 0")


@pytest.mark.parametrize(("name", "text"), [("a.toml", "epochs = 7\nexits-at = '1:1'\n"), ("b.json", '{"epochs": 7}')])
def test_a_configuration_file_sets_defaults_that_options_override(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert run(["train", "--config", name, "--dry-run", "--arch", "resnet8", "--width", "4"]) == 0
    assert "7 epochs" in capsys.readouterr().out
    assert run(["train", "--config", name, "--epochs", "2", "--dry-run", "--arch", "resnet8", "--width", "4"]) == 0
    assert "2 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["--preset fast --config c.toml", "--config c.toml --preset fast"])
def test_a_preset_is_below_a_file_and_a_file_below_options(
    order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text("epochs = 7\nlr = 0.25\n")
    assert run(["train", *order.split(), "--epochs", "2", "--width", "8", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "airbench, exits at 1:2" in printed
    assert "2 epochs · batch 256 · lr 0.25 one-cycle" in printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("preset = 'fast'", "preset: `train` has no such option"),
        ("epcohs = 3", "epcohs: `train` has no such option; did you mean epochs?"),
        ("epochs = 'many'", "--epochs"),
        ("epochs = ", "no valid TOML"),
        ("epochs = 3\nepochs = 4", "no valid TOML"),
    ],
)
def test_a_wrong_configuration_file_is_named(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert run(["train", "--config", str(path), "--dry-run"]) == 2
    assert says in capsys.readouterr().err


def test_a_missing_configuration_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--config", "gone.toml"]) == 2
    assert "gone.toml" in capsys.readouterr().err


def test_a_pipe_in_the_c_locale_does_not_fail_on_our_signs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "msd_edge", "train", "--dry-run", "--arch", "resnet8", "--width", "2"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m msd_edge train --list-archs | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("resnet")


def help_lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run([*arguments, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("verb", [*VERBS, "plan", "devices", "deploy"])
def test_help_fits_the_terminal_and_leaves_most_of_it_to_the_words(
    verb: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_lines(capsys, verb)
    commands = [line for line in lines if line.startswith("    ") and ("msd-edge " in line or "--" in line)]
    assert max(len(line) for line in lines if line not in commands) <= min(columns, 100) - 2
    assert not any(line.endswith("-") or line != line.rstrip() for line in lines)
    assert not re.search("<[a-z]", "".join(lines))
    options = lines[lines.index("Options:") + 1 :]
    begins = {len(line) - len(line.lstrip()) for line in options} - {2}
    assert len(begins) <= 1, "the words stand in one column"
    assert max(begins, default=0) <= 34


def test_examples_of_help_can_be_pasted_as_they_stand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_lines(capsys, "train")
    place = next(place for place, line in enumerate(lines) if line.endswith("mobilenetv3_small_100 \\"))
    assert lines[place : place + 2] == [
        "    msd-edge train --data cifar10 --arch timm:mobilenetv3_small_100 \\",
        "        --exits-at blocks.2,blocks.4 --branch separable",
    ]


def test_help_calls_values_and_switches_by_short_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    train, predict = "\n".join(help_lines(capsys, "train")), help_lines(capsys, "predict")
    assert "\n  --[no-]detach  " in train
    assert "\n  --width N  " in train
    assert "\n  --out DIR  " in train
    assert predict[0] == "Usage: msd-edge predict [OPTIONS] BUNDLE IMAGE..."
    whole = " ".join(" ".join(help_lines(capsys)).split())
    assert "bench Measure a bundle on real test images, each variant in a fresh process, here or on a device." in whole
