"""A study through its command: cells are run once, kept, and a stopped one goes on; tables come from the files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from msd_edge.benchmarks.study import __main__ as program
from msd_edge.benchmarks.study import work
from msd_edge.benchmarks.study.cells import cells_of, read_result, result_path
from msd_edge.benchmarks.study.settings import read_study
from msd_edge.benchmarks.study.table import draw_pooled, draw_tables, paired_test, pool_gains, summarise_cells
from msd_edge.errors import ConfigError, Interrupted, MsdEdgeError
from msd_edge.locks import hold

STUDY = """
baseline = "joint"
seeds = [0, 1]
trials = 2
optim = {{ epochs = 2, batch_size = 16, lr = 0.1 }}

[networks.small]
arch = "resnet8"
width = 4
exits = 2

[networks.single]
arch = "resnet8"
width = 4
exits = 1
methods = ["joint"]

[data.stripes]
source = "{data}"
images_per_class = 30

[methods.joint]
loss = {{ method = "joint" }}

[methods.msd]
loss = {{ method = "msd" }}
search = {{ alpha = [0.1, 0.5] }}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (120, 8, 8, 1), dtype=np.uint8)
    y = np.arange(120) % 2
    x[y == 0, ::2] += 150
    x[y == 1, :, ::2] += 150
    np.savez(tmp_path / "stripes.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(data="stripes.npz"))
    return path


def test_cells_run_once_and_a_stopped_one_goes_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("out")
    stop = {"after": 3}
    real = work.run_cell

    def stopped(study: object, cell: object, folder: object, step: object, running: object) -> object:
        def count(text: str) -> None:
            stop["after"] -= 1
            if not stop["after"]:
                raise KeyboardInterrupt
            step(text)  # type: ignore[operator]

        return real(study, cell, folder, count, running)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "run_cell", stopped)
    with pytest.raises(Interrupted):
        program.main(file, out)
    assert not list(out.glob("cells/*.json"))
    assert list(out.glob("runs/*"))
    program.main(file, out)
    study = read_study(file)
    cells = list(cells_of(study, out))
    # joint with both networks: 2 seeds each; msd: 2 trials, then 2 seeds.
    assert len(cells) == 8
    results = [read_result(study, cell, out) for cell in cells]
    assert all(result is not None for result in results)
    assert ["test" in result for result in results if result] == [cell.trial is None for cell in cells]
    trials = [result for result in results if result and result["trial"] is not None]
    best = max(trials, key=lambda result: float(np.mean(result["calibration"])))
    assert {cell.loss.alpha for cell in cells if cell.method == "msd" and cell.trial is None} == {best["loss"]["alpha"]}
    assert all(result and result["images"] == 54 for result in results)  # 60 less a tenth for calibration
    assert not list((out / "runs").iterdir())
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*")}
    program.main(file, out)
    assert {path: path.stat().st_mtime_ns for path in out.glob("cells/*")} == before
    printed = capsys.readouterr().out
    assert "### stripes, small" in printed
    assert (out / "table.md").read_text() in printed


def test_a_cell_that_another_process_runs_is_left_to_it(file: Path) -> None:
    out = Path("out")
    study = read_study(file)
    first, second, *_ = cells_of(study, out)
    with hold(result_path(first, out), work="is running this cell"):
        program.main(file, out, limit=1)
    assert [path.stem for path in out.glob("cells/*")] == [second.name]


def test_what_is_compared_decides_nothing_about_a_cell(file: Path) -> None:
    out = Path("out")
    program.main(file, out, limit=1)
    text = file.read_text().replace("images_per_class = 30", 'images_per_class = 30\nmethods = ["joint"]')
    file.write_text(text.replace("seeds = [0, 1]", "seeds = [0]"))
    program.main(file, out)
    assert len(list(out.glob("cells/*"))) == 2  # joint with both networks, one of them run before


@pytest.mark.slow
@pytest.mark.parametrize("starter", [["--jobs", "2"], None])
def test_processes_share_the_cells(file: Path, starter: list[str] | None) -> None:
    text = file.read_text()
    file.write_text(text.replace("epochs = 2", "epochs = 1"))
    start = [sys.executable, "-m"]
    if starter is None:
        start += ["torch.distributed.run", "--nproc-per-node", "2", "-m"]
    command = [*start, "msd_edge.benchmarks.study", str(file), "--out", "out", "--keep", *(starter or [])]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=alone, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " % in " in line]
    assert len(lines) == len(set(lines)) == len(list(Path("out/cells").glob("*.json"))) == 8
    assert done.stdout.count("### stripes, small") == 1
    assert len(list(Path("out/runs").iterdir())) == 6  # trials are not kept


@pytest.mark.parametrize("keep", [False, True])
def test_nothing_of_other_settings_is_taken(file: Path, keep: bool) -> None:
    out = Path("out")
    program.main(file, out, limit=1, keep=keep)
    file.write_text(file.read_text().replace("epochs = 2", "epochs = 1"))
    with pytest.raises(ConfigError, match="made with other settings"):
        program.main(file, out)
    study = read_study(file)
    path = result_path(next(iter(cells_of(study, out))), out)
    path.unlink()
    program.main(file, out, limit=1)
    assert [json.loads(found.read_text())["epochs"] for found in out.glob("cells/*")] == [1]
    assert path.is_file()


def test_one_cell_that_fails_does_not_stop_the_others(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(
        file.read_text() + "\n[data.hot]\nsource = 'stripes.npz'\noptim = { lr = 1e20 }\nmethods = ['joint']\n"
    )
    text = (
        file.read_text()
        .replace("[data.stripes]", "[data.stripes]\nmethods = ['joint']")
        .replace("seeds = [0, 1]", "seeds = [0]")
    )
    file.write_text(text)
    with pytest.raises(MsdEdgeError, match="hot--single--joint--seed0, hot--small--joint--seed0; what is done is kept"):
        program.main(file, Path("out"))
    assert capsys.readouterr().err.count("the loss is no longer a number") == 2
    assert {path.stem for path in Path("out/cells").glob("*")} == {
        "stripes--single--joint--seed0",
        "stripes--small--joint--seed0",
    }
    # Mended in the file, the same command goes on.
    file.write_text(text.replace("1e20", "0.1"))
    program.main(file, Path("out"))
    assert len(list(Path("out/cells").glob("*"))) == 4


def test_of_every_class_as_many_images_are_taken(file: Path) -> None:
    rng = np.random.default_rng(1)
    y = np.array([0] * 100 + [1] * 40)
    x = rng.integers(0, 255, (140, 8, 8, 1), dtype=np.uint8)
    np.savez("stripes.npz", x_train=x, y_train=y, x_test=x[:20] // 2, y_test=y[:20])
    program.main(file, Path("out"), limit=1)
    with np.load(next(Path("out/data").glob("stripes-30-*.npz"))) as part:
        assert np.bincount(part["y_train"]).tolist() == [30, 30]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"jobs": 2, "limit": 1}, "--jobs 2: --limit counts one process's cells"),
        ({"draw": True}, "there are no results"),
    ],
)
def test_what_does_not_go_together_is_refused(file: Path, options: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        program.main(file, Path("out"), **options)
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(file: Path, number: signal.Signals) -> None:
    file.write_text(file.read_text().replace("epochs = 2", "epochs = 500"))
    command = [sys.executable, "-m", "msd_edge.benchmarks.study", str(file), "--out", "out", "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as parent:
        deadline = time.monotonic() + 300
        while len(list(Path("out/runs").glob("*/metrics.jsonl"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        workers = [int(child) for child in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
        assert len(workers) == 2
        parent.send_signal(number)
        _, said = parent.communicate(timeout=120)
    assert parent.returncode == 130
    assert said.strip() == "stopped; the same command goes on where it was."
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('baseline = "joint"', 'baseline = "jiont"', "baseline jiont is none of its methods"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds must differ"),
        ("seeds = [0, 1]", "seeds = [1000]", "seeds must differ"),
        ("[0.1, 0.5]", "[0.1, 0.5, 0.7]", "tries 3 combinations; every method may try 2"),
        ("[0.1, 0.5]", "[0.1, 5]", "methods.msd: alpha"),
        ("epochs = 2", "epochs = 0", "epochs"),
        ('methods = ["joint"]', 'methods = ["joynt"]', "joynt is none of its methods"),
        ("images_per_class = 30", 'methods = ["joynt"]', "data.stripes: joynt is none of its methods"),
        ("seeds", "seeds = ", "cannot be read as TOML"),
        ("[networks.small]", '[networks."../up"]', "networks"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_before_anything(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        program.main(file, Path("out"))
    assert not Path("out").exists()


def test_too_few_images_of_a_class_are_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("images_per_class = 30", "images_per_class = 51"))
    with pytest.raises(MsdEdgeError, match="could not be run"):
        program.main(file, Path("out"))
    assert "a class has fewer than 51 training images." in capsys.readouterr().err


def test_the_test_is_that_of_pairs() -> None:
    a, b = np.array([90.1, 90.4, 89.7, 90.0]), np.array([89.9, 90.1, 89.8, 89.5])
    assert paired_test((a - b).tolist()) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert paired_test([0.0, 0.0]) == 1
    assert paired_test([0.5, 0.5]) == 0


def test_rows_are_held_against_the_same_seeds() -> None:
    def cell(method: str, seed: int, *test: float) -> dict[str, object]:
        return {"data": "d", "network": "n", "method": method, "seed": seed, "test": list(test)}

    results = [
        *(cell("joint", 0, 0.80, 0.90), cell("joint", 1, 0.82, 0.90), cell("msd", 1, 0.83, 0.90)),
        *(cell("msd", 0, 0.83, 0.89), cell("alone", 2, 0.7, 0.7), {**json.loads("{}"), "data": "d", "trial": 0}),
    ]
    rows = summarise_cells(results, "joint")["d", "n"]
    assert [row.method for row in rows] == ["joint", "msd", "alone"]
    assert rows[0].gain is None
    assert rows[1].gain == pytest.approx((2.0, -0.5))
    assert rows[0].deviation == pytest.approx((np.sqrt(2), 0))
    assert rows[2].gain is None
    assert "| msd | 2 | 83.00 ± 0.00 | 89.50 ± 0.71 | +2.00 (0.30) | -0.50 (0.50) |" in draw_tables(
        {("d", "n"): rows}, "joint"
    )


def test_gains_of_all_settings_are_pooled_pair_by_pair() -> None:
    def cell(data: str, method: str, seed: int, *test: float) -> dict[str, object]:
        return {"data": data, "network": "n", "method": method, "seed": seed, "test": list(test)}

    results = [
        *(cell("a", "joint", 0, 0.80, 0.90), cell("b", "joint", 0, 0.70, 0.75), cell("b", "joint", 1, 0.70, 0.75)),
        *(cell("a", "msd", 0, 0.81, 0.90), cell("b", "msd", 0, 0.73, 0.74), cell("b", "msd", 1, 0.72, 0.76)),
        *(cell("a", "msd", 7, 0.1, 0.1), cell("b", "single", 0, 0.6, 0.6), {"data": "a", "trial": 0}),
    ]
    pooled = pool_gains(results, "joint")
    assert pooled["msd", 2][0] == 2
    assert np.allclose(pooled["msd", 2][1], [[1, 0], [3, -1], [2, 1]])
    assert pooled["single", 2][0] == 1
    p_value = stats.ttest_1samp([1, 3, 2], 0).pvalue
    assert draw_pooled(pooled).splitlines() == [
        "| method | settings | pairs | gain 1 (p) | gain 2 (p) |",
        "|---|---:|---:|---:|---:|",
        f"| msd | 2 | 3 | +2.00 ({p_value:.2f}) | +0.00 (1.00) |",
    ]


def test_networks_with_other_numbers_of_exits_are_pooled_apart() -> None:
    results = [
        {"data": data, "network": network, "method": method, "seed": 0, "test": [0.7 + gain] * exits}
        for data, more in (("a", 0.01), ("b", 0.03))
        for network, exits in (("two", 2), ("three", 3))
        for method, gain in (("joint", 0.0), ("msd", more))
    ]
    assert draw_pooled(pool_gains(results, "joint")).splitlines()[2:] == [
        "| msd, 2 exits | 2 | 2 | +2.00 (0.30) | +2.00 (0.30) | |",
        "| msd, 3 exits | 2 | 2 | +2.00 (0.30) | +2.00 (0.30) | +2.00 (0.30) |",
    ]
