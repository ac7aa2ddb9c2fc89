"""What int8 costs every family: a short real training each, the drop per exit on test images, in both targets.

``python -m msd_edge.benchmarks.int8_table --data fashion-mnist --out int8-table`` trains, exports and measures one
network after the other; each leaves a small JSON file, so that the script can be stopped and goes on where it was. The
table is drawn from the files.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.cli import common
from msd_edge.data.dataset import Dataset
from msd_edge.errors import ConfigError, MsdEdgeError
from msd_edge.files import read_json, write_json
from msd_edge.runtime.chain import Chain

_BATCH = 64
_VARIANTS = ("tflite-int8", "onnx-int8")


@dataclass(frozen=True)
class Row:
    """A network of the table: its name and the width of its first stage (None: the family's own)."""

    arch: str
    width: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.arch if self.width is None else f"{self.arch}-w{self.width}"


ROWS = (
    Row("resnet20"),
    Row("resnet10", 16),
    Row("seresnet20"),
    Row("resnext11-2x8d"),
    Row("preresnet20"),
    Row("wrn-16-2"),
    Row("vgg11", 16),
    Row("densenet-bc-40-12"),
    Row("mobilenetv1-0.25"),
    Row("mobilenetv2-0.35"),
    Row("mobilenetv3-small-0.5"),
    Row("efficientnet-b0", 8),
    Row("efficientnet-lite0", 8),
    Row("shufflenetv2-0.5"),
    Row("regnetx-200mf"),
    Row("regnety-200mf"),
    Row("airbench", 16),
    Row("msdnet"),
)


def measure_row(row: Row, data: str, folder: Path, epochs: int, step: Callable[[str], None]) -> dict[str, Any]:
    """Train a network, export it in int8 and float, and measure every exit of every variant on the test split.

    Args:
        row: which network.
        data: as for ``train --data``.
        folder: for the run and the bundle.
        epochs: of training.
        step: told what is going on.

    Returns:
        What the row's file holds.
    """
    from msd_edge.converters.export import ExportOptions, export_run
    from msd_edge.training.run import RunFolder

    run = folder / "runs" / row.name
    plan, costs = _train(row, data, run, epochs, step)
    out = folder / "bundles" / row.name
    export_run(
        run,
        ExportOptions(("tflite", "onnx"), ("float32", "int8"), out, overwrite=True, max_drop=100, proof_images=256),
        step,
    )
    bundle = read_bundle(out)
    found = {name: _measure(bundle, name, plan, step) for name in ("tflite-float32", *_VARIANTS)}
    reference = found.pop("tflite-float32")
    operators = {name: _odd_operators(bundle, name) for name in _VARIANTS}
    validation = [line["accuracy"] for line in RunFolder(run).read_metrics()]
    shutil.rmtree(out)
    return {
        "arch": row.arch,
        "width": row.width,
        "data": data,
        "epochs": epochs,
        "macs": [cost.macs for cost in costs],
        "parameters": costs[-1].parameters,
        "images": len(plan.test),
        "validation": validation[-1],
        "float32": _accuracies(reference, plan),
        **{name: _accuracies(values, plan) for name, values in found.items()},
        "flips": {name: _flips(reference, values, plan) for name, values in found.items()},
        "operators": operators,
    }


def _train(row: Row, data: str, run: Path, epochs: int, step: Callable[[str], None]) -> tuple[Dataset, Any]:
    from msd_edge.data.config import DataConfig
    from msd_edge.training import setup
    from msd_edge.training.config import ComputeConfig, OptimConfig
    from msd_edge.training.methods import LossConfig
    from msd_edge.training.run import RunFolder

    if (run / "run.json").is_file():
        plan = setup.plan_resume(RunFolder(run))
    else:
        options = setup.TrainOptions(
            data=DataConfig(source=data),
            arch=row.arch,
            width=row.width,
            loss=LossConfig(),
            optim=OptimConfig(epochs=epochs, batch_size=_BATCH, lr=0.05, schedule="one-cycle", warmup=0.2),
            compute=ComputeConfig(),
        )
        plan = setup.plan_run(options, run)
    with plan.folder.lock():
        trainer, info, _ = setup.start_trainer(plan)
        total = info.config.optim.epochs
        trainer.train(lambda _: None, lambda epoch, n, count: step(f"epoch {epoch}/{total}, step {n}/{count}"))
    return plan.dataset, plan.costs


def _measure(bundle: Bundle, variant: str, dataset: Dataset, step: Callable[[str], None]) -> Any:
    """Return which class every exit names, (images, exits)."""
    found = np.empty((len(dataset.test), len(bundle.manifest.exits)), np.int64)
    with Chain(bundle, variant=variant) as chain:
        for place in range(len(dataset.test)):
            found[place] = chain.logits(dataset.test.read(np.array([place]))[0]).argmax(-1)
            if place % 100 == 0:
                step(f"{variant}, test image {place} of {len(dataset.test)}")
    return found


def _accuracies(found: Any, dataset: Dataset) -> list[float]:
    return [float(value) for value in (found == dataset.test.labels[:, None]).mean(axis=0)]


def _flips(before: Any, after: Any, dataset: Dataset) -> list[list[int]]:
    """Return for every exit how many images int8 lost and gained."""
    labels = dataset.test.labels[:, None]
    lost = ((before == labels) & (after != labels)).sum(axis=0)
    gained = ((before != labels) & (after == labels)).sum(axis=0)
    return [[int(a), int(b)] for a, b in zip(lost, gained, strict=True)]


def _odd_operators(bundle: Bundle, variant: str) -> dict[str, int]:
    """Return operators that full-integer kernels do not take, by type, over all segments."""
    strays = ("TRANSPOSE", "DEQUANTIZE", "HARD_SWISH", "AVERAGE_POOL_2D", "PADV2", "Transpose", "HardSwish", "LOGISTIC")
    counts: dict[str, int] = {}
    for segment in bundle.variant(variant).segments:
        for name in strays:
            if segment.operators.get(name):
                counts[name] = counts.get(name, 0) + segment.operators[name]
    return counts


def draw_table(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown: accuracy of the float files, points lost per exit by int8."""
    lines = [
        "| network | M MACs | M parameters | float32, % | TFLite int8, points lost | ONNX int8, points lost |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        drops = []
        for name in _VARIANTS:
            lost = [100 * (a - b) for a, b in zip(row["float32"], row[name], strict=True)]
            drops.append(" / ".join(f"{value:.2f}" for value in lost))
        width = "" if row["width"] is None else f", width {row['width']}"
        accuracy = " / ".join(f"{100 * value:.2f}" for value in row["float32"])
        macs, parameters = row["macs"][-1] / 1e6, row["parameters"] / 1e6
        lines.append(f"| {row['arch']}{width} | {macs:.1f} | {parameters:.2f} | {accuracy} | {drops[0]} | {drops[1]} |")
    return "\n".join(lines)


def main(
    data: Annotated[str, typer.Option(help="As for train: digits, fashion-mnist, FILE.npz …")] = "digits",
    out: Annotated[Path, typer.Option(help="Where runs and results go.")] = Path("int8-table"),
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="Only these networks; repeatable.")] = None,
) -> None:
    """Measure what is not measured yet, then print the table."""
    source = common.resolve_source(data)
    for name in only or ():
        common.choose("--only", name, dict.fromkeys(name for row in ROWS for name in (row.arch, row.name)))
    chosen = [row for row in ROWS if not only or row.arch in only or row.name in only]
    for row in chosen:
        _refuse_other_settings(out / f"{row.name}.json", source, epochs)
    failed = 0
    for row in chosen:
        path = out / f"{row.name}.json"
        if path.is_file():
            continue
        with common.progress(0, row.name) as bar:
            try:
                found = measure_row(row, source, out, epochs, lambda text, name=row.name: bar.note(f"{name}: {text}"))  # type: ignore[misc]
            except MsdEdgeError as problem:
                common.warn(f"{row.name}: {problem}")
                failed += 1
                continue
        write_json(path, found)
    rows = [read_json(out / f"{row.name}.json", what="row", error=MsdEdgeError) for row in chosen if _done(out, row)]
    common.say(draw_table(rows))
    common.say(json.dumps({"networks": len(rows), "failed": failed}))
    if failed:
        raise typer.Exit(1)


def _refuse_other_settings(path: Path, data: str, epochs: int) -> None:
    """Raise if a row was measured on other data or after another number of epochs.

    Raises:
        ConfigError: it was.
    """
    if path.is_file():
        row = read_json(path, what="row", error=MsdEdgeError)
        if (row["data"], row["epochs"]) != (data, epochs):
            raise ConfigError(
                f"{path}: measured on {row['data']} after {row['epochs']} epochs; --out names another folder."
            )


def _done(out: Path, row: Row) -> bool:
    return (out / f"{row.name}.json").is_file()


if __name__ == "__main__":
    common.run_script(main)
