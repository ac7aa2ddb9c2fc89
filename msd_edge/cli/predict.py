"""``msd-edge predict``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, VerboseOption
from msd_edge.commands import suggest_command
from msd_edge.data.suffixes import IMAGE_SUFFIXES
from msd_edge.errors import ConfigError, DataError

if TYPE_CHECKING:
    from msd_edge.runtime.cascade import Answer, CascadeRunner

EXAMPLES = """Classify images with a bundle's cascade: label, probability, the exit taken, milliseconds.

A line an image; of a folder, the images in it and in its subfolders. An image that cannot be read gets a sentence, the
others go on, and the exit code is 2 at the end. Total ms is pre-processing, the segments that ran and the decisions,
after one unmeasured run; reading the file is not in it.

Examples:

  msd-edge predict bundles/x photo.jpg

  msd-edge predict bundles/x photos/ --point fast --threads 2

  msd-edge predict bundles/x photo.jpg --variant onnx-float32 --json
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("predict", help=EXAMPLES)(predict)


def predict(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    point: Annotated[str | None, typer.Option(help="Operating point; default lossless.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Target and precision; default tflite-int8, if it runs here.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime, tensorflow or onnxruntime; default what is installed.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the runtime.")] = 1,
    json: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Classify images."""
    _check_order(bundle, images)
    paths = find_images(images)
    from msd_edge.bundle.reader import read_bundle
    from msd_edge.runtime.cascade import CascadeRunner

    opened = read_bundle(bundle)
    chosen = common.choose_variant(opened, variant, runtime)
    with CascadeRunner(opened, point=point, variant=chosen, runtime=runtime, threads=threads) as cascade:
        _warm_up(cascade)
        if json:
            answers = list(_answer_all(cascade, paths))
            common.say_json(_document(cascade, answers))
            _end(cascade, answered=len(answers), asked=len(paths))
            return
        exits = len(cascade.variant.segments)
        names = ["image", *map(str, paths)], ["label", *cascade.bundle.manifest.classes]
        widths = (max(map(len, names[0])), max(map(len, names[1])))
        answered = 0
        for path, answer in _answer_all(cascade, paths):
            if not answered:  # images that cannot be read leave standard output empty
                common.say(
                    _row("image", "label", "probability", f"exit of {exits}", "total ms", "ms of segments", widths)
                )
            common.say(_line(path, answer, widths))
            answered += 1
        _end(cascade, answered=answered, asked=len(paths))


def _check_order(bundle: Path, images: list[Path]) -> None:
    """Raise where a bundle stands among the images, and none where it belongs."""
    from msd_edge.bundle.reader import MANIFEST

    found = next((path for path in images if (path / MANIFEST).is_file()), None)
    if found is not None and not (bundle / MANIFEST).is_file():
        rest = [bundle, *(path for path in images if path is not found)]
        raise ConfigError(
            f"{bundle}: this is no bundle; the bundle comes first: `{suggest_command('predict', found, *rest)}`."
        )


def find_images(given: list[Path]) -> list[Path]:
    """Return the image files meant: files as they are named, folders as the images in them and below, sorted by path.

    Hidden files and what lies in hidden folders is left out.

    Raises:
        ConfigError: a path does not exist; all such are named at once.
        DataError: a folder has no images.
    """
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        more = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
        raise ConfigError(f"{', '.join(missing[:3])}{more}: there is no such image.")
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if _is_image(file, path))
        if not inside:
            raise DataError(f"{path}: no images are in this folder ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        found += inside
    return found


def _is_image(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMAGE_SUFFIXES and not hidden and file.is_file()


def _answer_all(cascade: "CascadeRunner", paths: list[Path]) -> Iterator[tuple[Path, "Answer"]]:
    """Yield the images that can be read, with what the cascade says of them; of each other one, say why."""
    for path in paths:
        try:
            answer = cascade.predict_file(path)
        except DataError as problem:
            common.complain(str(problem))
        else:
            yield path, answer


def _end(cascade: "CascadeRunner", *, answered: int, asked: int) -> None:
    """Say what the watch noticed; end with the code of wrong input where images could not be read."""
    if cascade.watch is not None and cascade.watch.drift is not None:
        common.warn(str(cascade.watch.drift))
    if answered < asked:
        raise typer.Exit(DataError.exit_code)


def _warm_up(cascade: "CascadeRunner") -> None:
    import numpy as np

    size = cascade.bundle.manifest.input
    cascade.logits(np.zeros((size.height, size.width, size.channels), np.uint8))


def _line(path: Path, answer: "Answer", widths: tuple[int, int]) -> str:
    segments = " + ".join(f"{ms:.2f}" for ms in answer.segment_ms)
    probability = f"{100 * answer.probability:.1f} %"
    return _row(str(path), answer.label, probability, str(answer.exit), f"{answer.total_ms:.2f}", segments, widths)


def _row(
    image: str, label: str, probability: str, exit_: str, total: str, segments: str, widths: tuple[int, int]
) -> str:
    return f"{image:<{widths[0]}}  {label:<{widths[1]}}  {probability:>11}  {exit_:>9}  {total:>8}  {segments}"


def _document(cascade: "CascadeRunner", answers: list[tuple[Path, "Answer"]]) -> dict[str, Any]:
    return {
        "bundle": str(cascade.bundle.path),
        "variant": cascade.variant.name,
        "point": cascade.point,
        "runtime": cascade.runtime,
        "runtime_version": cascade.runtime_version,
        "threads": cascade.threads,
        "images": [
            {
                "path": str(path),
                "label": answer.label,
                "index": answer.index,
                "probability": answer.probability,
                "probabilities": answer.probabilities.tolist(),
                "exit": answer.exit,
                "segment_ms": answer.segment_ms,
                "preprocess_ms": answer.preprocess_ms,
                "decision_ms": answer.decision_ms,
                "total_ms": answer.total_ms,
            }
            for path, answer in answers
        ],
    }
