"""``msd-edge eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, VerboseOption
from msd_edge.cli.together import together
from msd_edge.errors import ConfigError
from msd_edge.installed import require

if TYPE_CHECKING:
    from msd_edge.data.dataset import Dataset, ImageSet

EXAMPLES = """Accuracy of every exit, for a run (the float network) or a bundle (its files, image by image).

Examples:

  msd-edge eval runs/resnet20-cifar10

  msd-edge eval bundles/resnet20-cifar10 --split test --variant tflite-int8
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("eval", help=EXAMPLES)(together(evaluate))


def evaluate(
    path: Annotated[Path | None, typer.Argument(metavar="[RUN|BUNDLE]", help="Default: the newest run.")] = None,
    split: Annotated[str, typer.Option(help="calibration or test.")] = "calibration",
    variant: Annotated[str | None, typer.Option(help="Of a bundle (tflite-int8); default its first choice.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Of the computation; default 1 for a bundle, all for a run.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if it moved.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Report the accuracy of every exit."""
    del config, verbose
    common.choose("--split", split, ("calibration", "test"))
    world = common.state.world
    where = Path(world.share(lambda: str(path or common.newest_run())))
    kind = world.share(lambda: common.run_or_bundle(where))
    data = None if data is None else common.resolve_source(data)
    if kind == "run":
        if variant is not None:
            raise ConfigError(f"{where}: --variant is for bundles, this is a run.")
        require("evaluating a run", "torch", "safetensors", extra="train")
        name, correct, size = _evaluate_run(where, split, threads, data)
    else:
        name, correct, size = _evaluate_bundle(where, split, variant, threads or 1, data)
    accuracy = [n / size for n in correct]
    if as_json:
        common.say_json({"path": str(where), "what": name, "split": split, "images": size, "accuracy": accuracy})
        return
    common.facts([(kind, f"{common.tell_choice(where, path)} · {name}"), ("split", f"{split} · {size:,} images")])
    common.table(
        ["exit", "right", "accuracy"], [[str(k), f"{n:,}", f"{100 * n / size:.2f} %"] for k, n in enumerate(correct, 1)]
    )


def _evaluate_run(path: Path, split: str, threads: int | None, data: str | None) -> tuple[str, tuple[int, ...], int]:
    import torch

    from msd_edge.data.batches import Feeder
    from msd_edge.training.evaluate import count_correct
    from msd_edge.training.run import load_trained
    from msd_edge.training.setup import load_run_data
    from msd_edge.training.shared_run import open_run

    world = common.state.world
    if threads is not None:
        torch.set_num_threads(threads)
    network, info, epoch = load_trained(open_run(path, world))
    images = _pick(load_run_data(info, path, data), split)
    world.wait()
    feeder = Feeder(images, torch.device("cpu"), shard=world.shard)
    correct = count_correct(network, feeder, len(images), world=world)
    return f"float32 network of epoch {epoch}", correct, len(images)


def _evaluate_bundle(
    path: Path, split: str, variant: str | None, threads: int, data: str | None
) -> tuple[str, tuple[int, ...], int]:
    import numpy as np

    from msd_edge.benchmarks.data import bundle_dataset
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.runtime.chain import Chain

    bundle = read_bundle(path)
    chosen = bundle.variant(common.choose_variant(bundle, variant))
    images = _pick(bundle_dataset(bundle, data), split)
    world = common.state.world
    different = world.find_difference({"bundle": bundle.manifest_sha256})
    if different is not None:
        raise ConfigError(f"{path}: process {different[1]} has another bundle there than process 0.")
    different = world.find_difference({"variant": chosen.name})
    if different is not None:
        _, rank, other, first = different
        raise ConfigError(f"{path}: process {rank} can run {other}, process 0 {first}; --variant says which all take.")
    world.wait()
    start, stop = world.shard.bounds(len(images))
    correct = np.zeros(len(chosen.segments), dtype=np.int64)
    with (
        Chain(bundle, variant=chosen.name, threads=threads) as chain,
        common.progress(stop - start, f"{chosen.name} on {split} images") as bar,
    ):
        for index in range(start, stop):
            image = images.read(np.array([index]))[0]
            correct += chain.logits(image).argmax(-1) == images.labels[index]
            bar.advance()
    return chosen.name, world.add_counts([int(n) for n in correct]), len(images)


def _pick(dataset: "Dataset", split: str) -> "ImageSet":
    return dataset.test if split == "test" else dataset.calibration
