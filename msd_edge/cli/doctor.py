"""``msd-edge doctor``: what runs here, what is missing and what mends it. Nothing heavy is imported."""

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from msd_edge.cli import common
from msd_edge.cli.common import JsonOption, VerboseOption
from msd_edge.cli.network import (
    ArchOptionOption,
    BranchIntervalOption,
    BranchOption,
    BranchWidthOption,
    ExitsAtOption,
    ExitsOption,
    WidthOption,
    print_costs,
    read_arch_options,
    to_json,
    warn_of,
)
from msd_edge.installed import require

if TYPE_CHECKING:
    from msd_edge.benchmarks.environment import Cores, Processor
    from msd_edge.models.build import ArchOption
    from msd_edge.models.choices import BranchKind

EXAMPLES = """Show what runs on this machine, what is missing and the command that mends it.

Examples:

  msd-edge doctor

  msd-edge doctor --json

  msd-edge doctor --arch mobilenetv3-small --exits 3 --image-size 96

  msd-edge doctor --arch resnet20 --branch separable --branch-width 0.5 --grey --image-size 28

With --arch it says what a network will cost per exit, what of it int8 kernels will not take, and which exit is too
expensive, before anything is trained. The exit code is 0 if the light runner (predict) can run, 1 if not.
"""

# The distribution, and the module that proves it is really there.
_MODULES = {
    "numpy": "numpy",
    "pillow": "PIL",
    "pydantic": "pydantic",
    "typer": "typer",
    "rich": "rich",
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "tensorflow": "tensorflow",
    "tensorflow-cpu": "tensorflow",
    "onnxruntime": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "torch": "torch",
    "torchvision": "torchvision",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "litert-torch": "litert_torch",
    "ai-edge-quantizer": "ai_edge_quantizer",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "jinja2": "jinja2",
}
_BASE = ("numpy", "pillow", "pydantic", "typer", "rich")
_TFLITE = ("ai-edge-litert", "tflite-runtime", "tensorflow", "tensorflow-cpu")
_ONNX = ("onnxruntime", "onnxruntime-gpu")
_TRAIN = ("torch", "torchvision", "safetensors", "scikit-learn")
_TELEMETRY = (1, 29)  # from this onnxruntime on


@dataclass(frozen=True)
class Ability:
    """Something to do with msd-edge.

    Attributes:
        name: as it is shown.
        works: whether all it needs is installed.
        uses: packages it would use, with versions.
        missing: packages it lacks; where one of several is enough, their names with "or" between.
        mend: the command that installs them, empty where there is nothing to mend.
    """

    name: str
    works: bool
    uses: tuple[str, ...]
    missing: tuple[str, ...]
    mend: str


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("doctor", help=EXAMPLES)(doctor)


def doctor(
    arch: Annotated[str | None, typer.Option(help="Look at this network instead of at the machine.")] = None,
    arch_option: ArchOptionOption = None,
    width: WidthOption = None,
    exits: ExitsOption = 3,
    exits_at: ExitsAtOption = None,
    branch: BranchOption = "sampled",
    branch_width: BranchWidthOption = 1.0,
    branch_interval: BranchIntervalOption = None,
    grey: Annotated[bool, typer.Option("--grey", help="Of images with one channel.")] = False,
    image_size: Annotated[str, typer.Option(metavar="N|HxW", help="Of the images it takes.")] = "32",
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what runs here."""
    if arch is not None:
        _examine(
            arch,
            read_arch_options(arch_option or []),
            width,
            exits,
            exits_at,
            branch,
            branch_width,
            branch_interval,
            image_size,
            classes,
            grey=grey,
            as_json=json,
        )
        return
    from msd_edge import __version__
    from msd_edge.benchmarks import environment

    versions = find_packages()
    processor, cores = environment.read_processor(), environment.read_cores()
    abilities = check_abilities(versions)
    findings = find_problems(versions)
    runs = any(ability.works for ability in abilities if ability.name.startswith("predict"))
    if json:
        common.say_json(
            {
                "msd_edge": __version__,
                "python": platform.python_version(),
                "executable": sys.executable,
                "system": environment.describe_system(),
                "processor": asdict(processor),
                "cores": {**asdict(cores), "allowed": cores.allowed},
                "memory_mib": environment.read_memory() if os.name == "posix" else None,
                "packages": versions,
                "abilities": [asdict(ability) for ability in abilities],
                "problems": findings,
                "runs": runs,
            }
        )
    else:
        _print(__version__, environment.describe_system(), processor, cores, versions, abilities, findings)
    if not runs:
        raise typer.Exit(1)


def _examine(
    arch: str,
    arch_options: "dict[str, ArchOption]",
    width: int | None,
    exits: int,
    exits_at: str | None,
    branch: str,
    branch_width: float,
    branch_interval: int | None,
    image_size: str,
    classes: int,
    *,
    grey: bool,
    as_json: bool,
) -> None:
    require("looking at a network", "torch", extra="train")
    from msd_edge.models.build import NetworkConfig, build_network, measure_costs, probe
    from msd_edge.models.choices import BranchKind

    common.choose("--branch", branch, get_args(BranchKind))
    height, side = common.read_size(image_size)
    config = NetworkConfig(
        arch=arch,
        arch_options=arch_options,
        width=width,
        exits=exits,
        exits_at=exits_at,
        branch=cast("BranchKind", branch),
        branch_width=branch_width,
        branch_interval=branch_interval,
        classes=classes,
        image_shape=(1 if grey else 3, height, side),
        mean=(127.5,),
        std=(127.5,),
    )
    network = build_network(config)
    probe(network, config.image_shape)
    costs = measure_costs(network)
    if as_json:
        common.say_json(to_json(network, costs, config))
        return
    common.facts([("network", f"{arch}, {len(costs)} exits, images {height}×{side}{' grey' if grey else ''}")])
    print_costs(costs)
    warn_of(network, costs, config)


def find_packages() -> dict[str, str]:
    """Return the versions of the packages that matter and are really there, importing none of them."""
    from msd_edge.benchmarks import environment

    found = environment.installed_versions(_MODULES)
    return {package: version for package, version in found.items() if importlib.util.find_spec(_MODULES[package])}


def check_abilities(versions: Mapping[str, str], system: str = sys.platform) -> tuple[Ability, ...]:
    """Return what can be done with these packages on that system (``sys.platform``)."""
    litert_torch = ("ai-edge-litert", "litert-torch", "ai-edge-quantizer")
    found = [
        _ability("predict, calibrate, bench: TFLite", versions, _BASE, "", any_of=_TFLITE),
        _ability("predict, calibrate, bench: ONNX", versions, _BASE, "onnx", any_of=_ONNX),
        _ability("train, eval a run", versions, (*_BASE, *_TRAIN), "train"),
        _ability("export --target tflite", versions, (*_BASE, *_TRAIN, *litert_torch), "export"),
        _ability("export --target onnx", versions, (*_BASE, *_TRAIN, "onnx", "onnxscript"), "export", any_of=_ONNX),
        _ability("report", versions, (*_BASE, "jinja2"), "report"),
    ]
    if not system.startswith("linux"):
        # litert-torch is made for Linux; installing more would not help.
        place = next(i for i, ability in enumerate(found) if ability.name == "export --target tflite")
        found[place] = Ability(
            found[place].name,
            False,
            (),
            ("Linux",),
            "export on a Linux machine or in a container; the bundle runs here",
        )
    return tuple(found)


def _ability(
    name: str, versions: Mapping[str, str], needs: tuple[str, ...], extra: str, *, any_of: tuple[str, ...] = ()
) -> Ability:
    missing = [package for package in needs if package not in versions]
    chosen = [package for package in any_of if package in versions][:1]
    if any_of and not chosen:
        missing.append(" or ".join(any_of))
    uses = tuple(f"{package} {versions[package]}" for package in (*chosen, *needs) if package in versions)
    mend = f"pip install 'msd-edge{f'[{extra}]' if extra else ''}'" if missing else ""
    return Ability(name, not missing, uses, tuple(missing), mend)


def find_problems(versions: Mapping[str, str], settings: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each known clash of these packages with one another or with what msd-edge writes.

    Args:
        versions: by package.
        settings: environment variables.
    """
    from msd_edge.converters.capability import IR_VERSION, OLDEST_ONNXRUNTIME, OPSET

    found = []
    runtime = next((versions[package] for package in _ONNX if package in versions), None)
    if runtime is not None and _parts(runtime) >= _TELEMETRY:
        off = settings.get("ORT_DISABLE_TELEMETRY") == "1"
        found.append(
            f"onnxruntime {runtime} sends telemetry unless ORT_DISABLE_TELEMETRY=1 is set before its import; msd-edge "
            + ("sets it for itself, set it for programs of your own" if off else "finds it set otherwise: unset it")
            + ", or pip install 'onnxruntime<1.29'."
        )
    if runtime is not None and () < _parts(runtime) < OLDEST_ONNXRUNTIME:
        oldest = ".".join(map(str, OLDEST_ONNXRUNTIME))
        found.append(
            f"onnxruntime {runtime} is older than {oldest}, the oldest that export's ONNX files (opset {OPSET}, IR "
            f"version {IR_VERSION}) were proven with: pip install 'onnxruntime>={oldest},<1.29'."
        )
    if "tflite-runtime" in versions and _parts(versions.get("numpy", "0")) >= (2,):
        found.append(
            f"tflite-runtime {versions['tflite-runtime']} cannot work with numpy {versions['numpy']}: "
            "pip install ai-edge-litert, its successor, or keep it in an environment of its own with 'numpy<2'."
        )
    if "litert-torch" in versions and _parts(versions.get("torch", "0")) >= (2, 15):
        found.append(
            f"litert-torch {versions['litert-torch']} needs torch below 2.15, found {versions['torch']}: "
            "pip install 'torch<2.15'."
        )
    return found


def _parts(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _print(
    own: str,
    system: str,
    processor: "Processor",
    cores: "Cores",
    versions: Mapping[str, str],
    abilities: tuple[Ability, ...],
    findings: list[str],
) -> None:
    limit = "no limit" if cores.quota is None else f"{cores.quota:g} cores"
    common.facts(
        [
            ("msd-edge", own),
            ("python", f"{platform.python_version()} · {sys.executable}"),
            ("system", system),
            ("cpu", f"{processor.name} · {' '.join(processor.features) or 'no known features'}"),
            ("int8", _int8_words(processor.features)),
            ("bf16", _bf16_words(processor.features)),
            (
                "threads",
                f"up to {cores.allowed} · {cores.installed} installed · affinity {cores.affinity} · "
                f"control group: {limit}",
            ),
        ]
    )
    common.say()
    rows = [
        [ability.name, "yes" if ability.works else "no", "" if ability.works else f"{_lacks(ability)} → {ability.mend}"]
        for ability in abilities
    ]
    width = max(len(row[0]) for row in rows)
    for name, works, words in rows:
        common.say(f"{name:<{width}}  {works:<3}  {words}".rstrip())
    common.say()
    common.facts((package, version) for package, version in _aligned(versions))
    for finding in findings:
        common.say()
        common.say(f"note     {finding}")


def _lacks(ability: Ability) -> str:
    return f"lacks {', '.join(ability.missing)}"


def _aligned(versions: Mapping[str, str]) -> list[tuple[str, str]]:
    width = max((len(package) for package in versions), default=0)
    return [(package.ljust(width), version) for package, version in versions.items()]


def _int8_words(features: tuple[str, ...]) -> str:
    fast = [name for name in ("AMX-INT8", "AVX512-VNNI", "AVX-VNNI", "I8MM", "NEON-dotprod") if name in features]
    return f"dot products in hardware ({', '.join(fast)})" if fast else "no dot products in hardware (VNNI, dotprod)"


def _bf16_words(features: tuple[str, ...]) -> str:
    found = [name for name in ("AMX-BF16", "AVX512-BF16", "BF16") if name in features]
    return f"in hardware ({', '.join(found)}); train measures whether it is faster" if found else "not in hardware"
