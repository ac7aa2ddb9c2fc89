"""What can be converted, with which packages, on which systems, and what runs the files: a table, checked first."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import Precision, Target
from msd_edge.errors import UnsupportedTarget

INSTALL = "pip install 'msd-edge[export]'"

# Of the ONNX files. The oldest pair with all that is needed, and the oldest onnxruntime that was seen to compute the
# same from it, bit for bit, as 1.20.1 and 1.28 do.
OPSET = 18
IR_VERSION = 8
OLDEST_ONNXRUNTIME = (1, 16)

_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}


@dataclass(frozen=True)
class Capability:
    """A target and a precision.

    Attributes:
        target: the file format.
        precision: of weights and activations.
        packages: import names that converting needs.
        platforms: values of ``sys.platform`` on which they exist; empty: everywhere.
        runtimes: what runs the files, the preferred one first.
        note: what else a user should know.
        refusal: why it is not offered; None: it is.
    """

    target: Target
    precision: Precision
    packages: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    note: str = ""
    refusal: str | None = None


_LITERT = ("litert", "tflite-runtime", "tensorflow")
_CONVERT_TFLITE = ("torch", "litert_torch", "ai_edge_litert")
_CONVERT_ONNX = ("torch", "onnx", "onnxscript")

CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        "tflite",
        "float32",
        packages=_CONVERT_TFLITE,
        platforms=("linux",),
        runtimes=_LITERT,
    ),
    Capability(
        "tflite",
        "float16",
        packages=(*_CONVERT_TFLITE, "ai_edge_quantizer"),
        platforms=("linux",),
        runtimes=("litert", "tensorflow"),
        note="half the bytes; weights are widened to float32 at load time, so x86 is no faster",
    ),
    Capability(
        "tflite",
        "int8",
        packages=(*_CONVERT_TFLITE, "ai_edge_quantizer"),
        platforms=("linux",),
        runtimes=_LITERT,
        note="tflite-runtime 2.14 runs it, 5 to 18 times slower than LiteRT on x86",
    ),
    Capability(
        "onnx",
        "float32",
        packages=_CONVERT_ONNX,
        runtimes=("onnxruntime",),
        note=f"opset {OPSET}, IR version {IR_VERSION}: onnxruntime {'.'.join(map(str, OLDEST_ONNXRUNTIME))} and later",
    ),
    Capability(
        "onnx",
        "float16",
        refusal="onnxruntime computes float16 on processors by casting to float32, which is slower and gains nothing",
    ),
    Capability(
        "onnx",
        "int8",
        packages=(*_CONVERT_ONNX, "onnxruntime"),
        runtimes=("onnxruntime",),
        note="uint8 activations, int8 weights of 7 bits: sums of products fit on every processor",
    ),
)


def check_capability(
    target: str,
    precision: str,
    *,
    platform: str = sys.platform,
    has_package: Callable[[str], bool] | None = None,
) -> Capability:
    """Return the row for a target and precision if it can be converted here; called before any work starts.

    Args:
        target: ``tflite`` or ``onnx``.
        precision: ``float32``, ``float16`` or ``int8``.
        platform: a value of ``sys.platform``.
        has_package: tells whether a package can be imported; None: look, without importing it.

    Raises:
        UnsupportedTarget: there is no such target or precision (the closest is offered), it is not offered together,
            not on this system, or a package is missing (the command that installs it is named).
    """
    _require_known("target", target, get_args(Target))
    _require_known("precision", precision, get_args(Precision))
    row = next(row for row in CAPABILITIES if (row.target, row.precision) == (target, precision))
    name = f"{target} {precision}"
    if row.refusal is not None:
        others = " or ".join(offered_precisions(row.target))
        raise UnsupportedTarget(f"{name} is not offered: {row.refusal}; take {others}.")
    if row.platforms and platform not in row.platforms:
        systems = " and ".join(_system(known) for known in row.platforms)
        elsewhere = _other_target(row, platform)
        raise UnsupportedTarget(
            f"{name} cannot be converted on {_system(platform)}: its converter runs on {systems} only; export there "
            f"or in a container{elsewhere}."
        )
    present = has_package or _importable
    missing = [package for package in row.packages if not present(package)]
    if missing:
        packages = ", ".join(package.replace("_", "-") for package in missing)
        raise UnsupportedTarget(f"{name} needs {packages}, not installed here; `{INSTALL}` brings what is missing.")
    return row


def offered_precisions(target: Target) -> tuple[Precision, ...]:
    """Return the precisions that a target offers anywhere, whatever is installed here."""
    return tuple(row.precision for row in CAPABILITIES if row.target == target and row.refusal is None)


def parse_targets(names: Sequence[str]) -> tuple[Target, ...]:
    """Return targets by their names, in order, each once.

    Raises:
        UnsupportedTarget: there is no such target; the closest is offered.
    """
    for name in names:
        if name not in get_args(Target):
            raise UnsupportedTarget(f"--target {name}: there is no such target{closest(name, get_args(Target))}.")
    return tuple(dict.fromkeys(cast(Sequence[Target], names)))


def _require_known(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UnsupportedTarget(f"{name}: there is no such {what}{closest(name, names)}.")


def _other_target(row: Capability, platform: str) -> str:
    for other in CAPABILITIES:
        fits = not other.platforms or platform in other.platforms
        if other.precision == row.precision and other.target != row.target and other.refusal is None and fits:
            return f", or take --target {other.target}"
    return ""


def _system(platform: str) -> str:
    return _SYSTEMS.get(platform, platform)


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
