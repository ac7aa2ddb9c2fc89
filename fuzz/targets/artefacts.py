"""Artefacts of our own that somebody else may have written: manifests, runs, results, metrics, weights, settings."""

import contextlib
import io
from pathlib import Path

from fuzz.oracle import check_sentence, refuses
from fuzz.targets import Run, Target


def manifest(folder: Path) -> Run:
    """A bundle's manifest: opened, its variants chosen, its points made rules, its files asked for."""
    from msd_edge.bundle.files import list_files
    from msd_edge.bundle.golden import read_golden
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.runtime.cascade import find_point, rule_of

    file = folder / "manifest.json"
    (folder / "image.u8").write_bytes(b"\0" * 96)

    def run(data: bytes) -> None:
        file.write_bytes(data)

        def use() -> None:
            bundle = read_bundle(folder)
            for variant in bundle.manifest.variants:
                refuses(lambda v=variant: rule_of(v, find_point(bundle, v, None)))  # type: ignore[misc]
                refuses(lambda v=variant: read_golden(bundle, v.name))  # type: ignore[misc]
            refuses(lambda: list_files(bundle))

        refuses(use)

    return run


def run_json(folder: Path) -> Run:
    """A run's configuration, with the metrics beside it."""
    from msd_edge.training.run import RunFolder

    file = folder / "run.json"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        refuses(RunFolder(folder).read_info)

    return run


def metrics(folder: Path) -> Run:
    """A run's lines of metrics: what cannot be read is left out, and every row is one."""
    from msd_edge.training.run import RunFolder

    file = folder / "metrics.jsonl"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        rows = RunFolder(folder).read_metrics()
        for row in rows:
            assert isinstance(row, dict)
            assert isinstance(row["epoch"], int)
            assert all(0 <= value <= 1 for value in row["accuracy"])

    return run


def results(folder: Path) -> Run:
    """A results file, its raw timings, and the page that is made of them."""
    from msd_edge.benchmarks.report.load import load
    from msd_edge.benchmarks.report.page import build_page
    from msd_edge.benchmarks.report.paste import build_csv, build_markdown
    from msd_edge.benchmarks.results_io import read_raw, read_results

    file = folder / "r.json"
    pages = 0

    def run(data: bytes) -> None:
        nonlocal pages
        file.write_bytes(data)
        if refuses(lambda: read_results(file)):
            return
        refuses(lambda: read_raw(file, read_results(file)))
        pages += 1
        if pages % 8 == 1:  # a page takes as long as a hundred refusals
            refuses(lambda: [build(load([file], None, folder)) for build in (build_page, build_markdown, build_csv)])

    return run


def raw_timings(folder: Path) -> Run:
    """The raw timings beside a results file."""
    from support.report_data import results as make_results
    from support.report_data import save_results

    from msd_edge.benchmarks.results_io import read_raw, read_results

    path = save_results(folder / "r.json", make_results())
    found = read_results(path).model_copy(update={"raw": "r.raw.json"})

    def run(data: bytes) -> None:
        (folder / "r.raw.json").write_bytes(data)
        refuses(lambda: read_raw(path, found))

    return run


def settings(folder: Path) -> Run:
    """A file for --config, JSON or TOML, down to the last check of an option."""
    import typer

    from msd_edge.cli import app

    app.app = typer.main.get_command(app.app)  # type: ignore[assignment]  # built once, not for every case
    files = {True: folder / "c.json", False: folder / "c.toml"}

    def run(data: bytes) -> None:
        file = files[data[:1] in (b"{", b"[")]
        file.write_bytes(data)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app.run(["calibrate", str(folder / "nowhere"), "--config", str(file)])
        lines = err.getvalue().splitlines()
        assert code == 2, (code, lines)
        assert len(lines) == 1, lines
        assert "--verbose shows where" not in lines[0], lines  # what nobody foresaw
        check_sentence(lines[0])

    return run


def safetensors(folder: Path) -> Run:
    """Tensors: of a run, and weights to start from."""
    from msd_edge.models.pretrained import read_weights
    from msd_edge.training.run import RunFolder

    file = folder / "model.safetensors"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        refuses(lambda: RunFolder(folder).read_tensors(file))
        refuses(lambda: read_weights(str(file), "resnet8", 2, 3))

    return run


def checkpoint(folder: Path) -> Run:
    """The header of a training state: the facts that a run goes on from, over tensors that fit."""
    import json

    import numpy as np
    from safetensors.torch import save
    from support.small_run import train_small_run, write_stripes

    from msd_edge.training.run import RunFolder
    from msd_edge.training.setup import plan_resume
    from msd_edge.training.trainer import Trainer

    path = train_small_run(folder / "run", write_stripes(folder / "d.npz", 48, 12), epochs=1)
    plan = plan_resume(RunFolder(path))
    trainer = Trainer(plan.folder, plan.info.config, plan.dataset)
    tensors, _ = plan.folder.read_tensors(plan.folder.state_path)
    names = sorted(tensors)

    def run(data: bytes) -> None:
        chosen = dict(tensors)
        if len(data) > 2 and data[0] & 1:  # one tensor in another shape or type
            name = names[data[1] % len(names)]
            kind = (np.float64, np.int8, np.float32, np.int64)[data[0] >> 1 & 3]
            import torch

            chosen[name] = torch.from_numpy(np.zeros((data[2] % 5, 2), kind))
        text = data[3:].decode(errors="replace") if data[:1] and data[0] & 1 else data.decode(errors="replace")
        # Renamed into place: tensors read before are still mapped from the old file.
        (folder / "state").write_bytes(save(chosen, metadata={"msd_edge": text}))
        (folder / "state").replace(plan.folder.state_path)
        if not refuses(trainer.resume):
            assert trainer.epoch >= 1
            assert trainer.best_epoch >= 1
            json.dumps([trainer.best_score, trainer.tau], allow_nan=False)

    return run


TARGETS = (
    Target("manifest", manifest, 5),
    Target("run", run_json, 5),
    Target("metrics", metrics, 10),
    Target("results", results, 0.7),
    Target("raw-timings", raw_timings, 8),
    Target("settings", settings, 0.5),
    Target("safetensors", safetensors, 5, native=True),
    Target("checkpoint", checkpoint, 0.1, native=True),
)
