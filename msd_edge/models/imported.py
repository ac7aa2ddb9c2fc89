"""Networks from elsewhere: timm's and torchvision's by name, and the user's own from a file or module.

timm:mobilenetv3_small_100      torchvision:resnet18
my_net.py:build                 package.module:Net        a class or function called with ``classes``
"""

import importlib
import importlib.util
import inspect
import sys
import warnings
from contextlib import AbstractContextManager, redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from msd_edge.bundle.choices import suggest
from msd_edge.errors import ModelError
from msd_edge.models.traced import TracedBackbone, trace_module
from msd_edge.models.tracer import first_line

LIBRARIES = ("timm", "torchvision")


def is_imported(arch: str) -> bool:
    """Return whether a name says where to import the network from."""
    return ":" in arch or arch.endswith(".py")


def check_source(arch: str) -> None:
    """Raise when library or file do not exist, before any long work.

    Raises:
        ModelError: they do not, or the name is no ``WHERE:NAME``.
    """
    where, _ = _split(arch)
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise ModelError(f"--arch {arch}: there is no file {where}.")
    elif importlib.util.find_spec(where.partition(".")[0]) is None:
        package = "'msd-edge[timm]'" if where == "timm" else where
        hint = f"; install it with: pip install {package}" if where in LIBRARIES else ""
        raise ModelError(f"--arch {arch}: there is no module {where} here{hint}.")


def load_module(arch: str, classes: int, in_channels: int = 3) -> nn.Module:
    """Build the single-classifier network that a name stands for, with fresh weights.

    Args:
        arch: ``timm:NAME``, ``torchvision:NAME``, ``FILE.py:NAME`` or ``MODULE:NAME``.
        classes: number of classes.
        in_channels: of the image.

    Raises:
        ModelError: library, file or name do not exist, or calling it fails.
    """
    where, name = _split(arch)
    check_source(arch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if where == "timm":
            return _from_timm(name, classes, in_channels, arch)
        if where == "torchvision":
            return _from_torchvision(name, classes, in_channels, arch)
        return _from_user(where, name, classes, arch)


def load_pretrained(
    arch: str, classes: int, in_channels: int = 3
) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Load a library's network with the library's own trained weights; it may download them.

    Returns:
        The network, and the normalization it was trained with: mean and std per channel, in pixels.

    Raises:
        ModelError: the name is no library's, or the weights cannot be had.
    """
    check_source(arch)
    where, name = _split(arch)
    if where not in LIBRARIES:
        raise ModelError(f"--weights pretrained: {arch} is your own network; give a .safetensors file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if where == "timm":
                import timm

                module: nn.Module = timm.create_model(name, pretrained=True, num_classes=classes, in_chans=in_channels)
                settings: Any = module.pretrained_cfg
                mean, std = settings["mean"], settings["std"]
            else:
                from torchvision import models

                weights = models.get_model_weights(name).DEFAULT
                module = models.get_model(name, weights=weights)
                transform = weights.transforms()
                mean, std = transform.mean, transform.std
    except Exception as problem:
        text = first_line(problem)
        raise ModelError(
            f"--weights pretrained: {arch}: {text}; without a network give a .safetensors file instead."
        ) from problem
    return module, tuple(255 * value for value in mean), tuple(255 * value for value in std)


def describe_imported(arch: str, classes: int, image_shape: tuple[int, int, int]) -> TracedBackbone:
    """Trace the network that a name stands for.

    Args:
        arch: its name.
        classes: number of classes.
        image_shape: (channels, height, width).

    Raises:
        ModelError: it does not exist, or cannot be cut.
    """
    return trace_module(load_module(arch, classes, image_shape[0]), image_shape, f"--arch {arch}")


def _split(arch: str) -> tuple[str, str]:
    where, _, name = arch.rpartition(":")
    if not where or not name or name.endswith(".py"):
        raise ModelError(f"--arch {arch}: name what to take from there, such as my_net.py:build or timm:resnet18.")
    return where, name


def _from_timm(name: str, classes: int, in_channels: int, arch: str) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise ModelError(f"--arch {arch}: timm has no such network{suggest(name, timm.list_models()) or '.'}")
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=in_channels)
    return module


def _from_torchvision(name: str, classes: int, in_channels: int, arch: str) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(f"--arch {arch}: torchvision has no such classifier{suggest(name, known) or '.'}")
    if in_channels != 3:
        raise ModelError(f"--arch {arch}: torchvision's networks take RGB images, these have {in_channels} channel.")
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=classes, **extra)
    return module


def _from_user(where: str, name: str, classes: int, arch: str) -> nn.Module:
    found = getattr(_import(where, arch), name, None)
    if found is None:
        raise ModelError(f"--arch {arch}: {where} has no {name!r}.")
    module = found
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ModelError(f"--arch {arch}: {name} is neither an nn.Module nor a function that makes one.")
        try:
            takes = "classes" in inspect.signature(found).parameters
            with _prints_to_stderr():
                module = found(classes=classes) if takes else found()
        except (Exception, SystemExit) as problem:
            raise ModelError(f"--arch {arch}: calling {name} failed: {first_line(problem)}.") from problem
    if not isinstance(module, nn.Module):
        raise ModelError(f"--arch {arch}: {name} gives a {type(module).__name__}, no nn.Module.")
    return module


def _import(where: str, arch: str) -> Any:
    path = Path(where)
    if path.suffix == ".py":
        return _import_file(path.resolve(), arch)
    try:
        with _prints_to_stderr():
            return importlib.import_module(where)
    except (Exception, SystemExit) as problem:
        raise ModelError(f"--arch {arch}: {where} cannot be imported: {first_line(problem)}.") from problem


@lru_cache(maxsize=16)
def _import_file(path: Path, arch: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"msd_edge_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # what stands beside the file can be imported by it
    try:
        with _prints_to_stderr():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        raise ModelError(f"--arch {arch}: {path} cannot be run: {first_line(problem)}.") from problem
    finally:
        sys.path.remove(str(path.parent))
    return module


def _prints_to_stderr() -> AbstractContextManager[object]:
    """Keep what the user's code prints out of standard output, which is for results."""
    return redirect_stdout(sys.stderr)
