"""The command lines that are killed, what each writes, and the small artefacts that they start from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msd_edge.benchmarks import kill_checks

_TRAIN = (
    *("train", "--data", "digits", "--arch", "resnet8", "--width", "4", "--exits", "2", "--epochs", "3"),
    *("--batch-size", "64", "--calibration-share", "0.8", "--compute", "cpu", "--precision", "fp32"),
)
_CALIBRATE = ("calibrate", "--images", "40", "--variant", "onnx-float32")
_BENCH = ("bench", "bundles/base", "--variant", "onnx-float32", "--images", "12", "--seconds", "0")
_REPORT = ("report", "results/base.json", "--bundle", "bundles/base")

VARIANTS = ("onnx-float32", "onnx-int8", "tflite-float32", "tflite-int8")

Check = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Case:
    """A command line.

    Attributes:
        command: the verb.
        replaces: whether an artefact is there already that this one is to take the place of.
        arguments: of ``msd-edge``.
        targets: the files and folders it writes, relative to where it runs.
        check: what says whether the first of them is whole.
    """

    command: str
    replaces: bool
    arguments: tuple[str, ...]
    targets: tuple[str, ...]
    check: Check

    @property
    def resumes(self) -> tuple[str, ...]:
        """The command line that goes on where the same one again is refused, because some of its work is there."""
        if self.command == "train":
            return ("train", "--resume", self.targets[0])
        return self.arguments if "--overwrite" in self.arguments else (*self.arguments, "--overwrite")

    def examine(self, place: Path) -> list[str]:
        """Return what is wrong with the targets that are there."""
        if self.command == "report":
            return [wrong for name in self.targets if (place / name).exists() for wrong in self.check(place / name)]
        return self.check(place / self.targets[0]) if (place / self.targets[0]).exists() else []


def export_as(variant: str) -> tuple[str, ...]:
    """Return the command line, but for its ``--out``, that exports one variant."""
    target, precision = variant.split("-")
    return (
        *("export", "runs/base", "--target", target, f"--{precision}", "--max-drop", "100"),
        *("--calibration-images", "16", "--proof-images", "32"),
    )


def make_cases(variant: str = VARIANTS[0]) -> tuple[Case, ...]:
    """Return all cases. ``variant``: what is exported."""
    export = export_as(variant)
    return (
        Case("train", False, (*_TRAIN, "--out", "runs/new"), ("runs/new",), kill_checks.check_run),
        Case(
            *("train", True, (*_TRAIN, "--seed", "1", "--out", "runs/base", "--overwrite"), ("runs/base",)),
            kill_checks.check_run,
        ),
        Case("export", False, (*export, "--out", "bundles/new"), ("bundles/new",), kill_checks.check_bundle),
        Case(
            *("export", True, (*export, "--out", "bundles/base", "--overwrite"), ("bundles/base",)),
            kill_checks.check_bundle,
        ),
        Case("calibrate", False, (*_CALIBRATE, "bundles/bare"), ("bundles/bare",), kill_checks.check_bundle),
        Case(
            *("calibrate", True, (*_CALIBRATE, "bundles/base", "--rule", "entropy"), ("bundles/base",)),
            kill_checks.check_bundle,
        ),
        Case(
            *("bench", False, (*_BENCH, "--out", "results/new.json"), ("results/new.json", "results/new.raw.json")),
            kill_checks.check_results,
        ),
        Case(
            "bench",
            True,
            (*_BENCH, "--out", "results/base.json", "--overwrite"),
            ("results/base.json", "results/base.raw.json"),
            kill_checks.check_results,
        ),
        Case(
            "report",
            False,
            (*_REPORT, "--out", "new.html", "--markdown", "new.md", "--csv", "new.csv"),
            ("new.html", "new.md", "new.csv"),
            kill_checks.check_text,
        ),
        Case(
            "report",
            True,
            (*_REPORT, "--out", "page.html", "--markdown", "page.md", "--csv", "page.csv", "--overwrite"),
            ("page.html", "page.md", "page.csv"),
            kill_checks.check_text,
        ),
    )


CASES = make_cases()
COMMANDS = tuple(dict.fromkeys(case.command for case in CASES))

# Run one after the other, they make what the cases start from.
BEGINNING = (
    (*_TRAIN, "--out", "runs/base"),
    (*export_as(VARIANTS[0]), "--out", "bundles/bare"),
    (*export_as(VARIANTS[0]), "--out", "bundles/base"),
    (*_CALIBRATE, "bundles/base"),
    (*_BENCH, "--out", "results/base.json"),
    (*_REPORT, "--out", "page.html", "--markdown", "page.md", "--csv", "page.csv"),
)
