"""Which runtime runs which files, and opening a file on one."""

import importlib.util
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from msd_edge.bundle.choices import closest
from msd_edge.bundle.manifest import Target, Variant
from msd_edge.bundle.reader import PREFERRED, Bundle
from msd_edge.errors import ConfigError, RuntimeUnavailable
from msd_edge.runtime.session import RuntimeName, Session

# In the order they are tried when none is named.
RUNTIMES: dict[Target, tuple[RuntimeName, ...]] = {
    "tflite": ("litert", "tflite-runtime", "tensorflow"),
    "onnx": ("onnxruntime",),
}
_MODULES: dict[RuntimeName, str] = {
    "litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "tensorflow": "tensorflow",
    "onnxruntime": "onnxruntime",
}
_INSTALL: dict[RuntimeName, str] = {
    "litert": "pip install ai-edge-litert",
    "tflite-runtime": "pip install tflite-runtime==2.14.0 'numpy<2' (Python 3.11 at most)",
    "tensorflow": "pip install tensorflow-cpu",
    "onnxruntime": "pip install 'onnxruntime<1.29'",
}


def installed(target: Target) -> tuple[RuntimeName, ...]:
    """Return the installed runtimes for files of ``target``, the preferred one first; nothing is imported."""
    return tuple(name for name in RUNTIMES[target] if importlib.util.find_spec(_MODULES[name]) is not None)


def choose_runtime(target: Target, runtime: str | None = None) -> RuntimeName:
    """Return the runtime for files of ``target``: the named one, else the preferred installed one.

    Raises:
        ConfigError: there is no such runtime, or it does not run such files.
        RuntimeUnavailable: it is not installed; the command that installs it is named.
    """
    found = installed(target)
    if runtime is None:
        if found:
            return found[0]
        raise RuntimeUnavailable(f"{_explain_missing(target)}.")
    for name in RUNTIMES[target]:
        if name == runtime:
            if name in found:
                return name
            raise RuntimeUnavailable(f"the runtime {name} is not installed: {_INSTALL[name]}.")
    if runtime in _MODULES:
        raise ConfigError(f"--runtime {runtime}: it does not run {target} files; {' or '.join(RUNTIMES[target])} does.")
    raise ConfigError(f"--runtime {runtime}: no such runtime{closest(runtime, _MODULES)}.")


def keep_runnable(variants: Sequence[Variant]) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
    """Return the variants that an installed runtime runs, and a sentence on those that are left out for each target.

    Args:
        variants: at least one.

    Raises:
        RuntimeUnavailable: no runtime for any of them is installed; the commands that install one are named.
    """
    targets = tuple(dict.fromkeys(variant.target for variant in variants))
    missing = tuple(target for target in targets if not installed(target))
    if missing == targets:
        raise RuntimeUnavailable(f"{_explain_missing(*missing)}.")
    notes = []
    for target in missing:
        names = ", ".join(variant.name for variant in variants if variant.target == target)
        notes.append(f"left out: {names} ({_explain_missing(target)}).")
    return tuple(variant for variant in variants if variant.target not in missing), tuple(notes)


def choose_variant(bundle: Bundle, name: str | None = None, runtime: str | None = None) -> Variant:
    """Return the variant of that name; without one the first choice among those that can run here.

    Where a runtime is named, these are those that it runs; else those whose runtime is installed. Where the bundle's
    first choice cannot run, calibrated ones come first.

    Raises:
        BundleError: there is no such variant.
        RuntimeUnavailable: none was named, and no runtime for any of the bundle's is installed.
    """
    first = bundle.variant(name)
    if name is not None:
        return first
    variants = bundle.manifest.variants
    if runtime is None:
        variants = keep_runnable(variants)[0]
    else:
        # Where it runs none of them, or there is no such runtime, the first choice's error says so.
        variants = tuple(variant for variant in variants if runtime in RUNTIMES[variant.target]) or (first,)
    if first in variants:
        return first
    calibrated = tuple(variant for variant in variants if variant.calibration is not None) or variants
    named = {variant.name: variant for variant in calibrated}
    return named[next((preferred for preferred in PREFERRED if preferred in named), next(iter(named)))]


def open_session(
    data: bytes, target: Target, *, runtime: str | None = None, threads: int = 1, signature: str | None = None
) -> Session:
    """Load a file's content, so that no path troubles a runtime.

    Args:
        data: the file's content.
        target: its format.
        runtime: a name of ``RUNTIMES``; None: the preferred one that is installed.
        threads: how many threads it may use.
        signature: which signature of a TFLite file that has several.

    Raises:
        ConfigError: the runtime does not fit the format, or an option has no such value.
        RuntimeUnavailable: the runtime is not installed, cannot start, or is too old for the file.
        BundleError: the content is no file that the runtime can load.
    """
    if threads < 1:
        raise ConfigError(f"{threads} threads: at least 1 is needed.")
    name = choose_runtime(target, runtime)
    try:
        if name == "onnxruntime":
            if signature is not None:
                raise ConfigError(f"signature {signature!r}: ONNX files have no signatures.")
            from msd_edge.runtime.onnx import OnnxSession

            return OnnxSession(data, threads=threads)
        from msd_edge.runtime.litert import TfliteSession

        interpreter, version = _interpreter(name)
    except (ImportError, AttributeError) as problem:  # an AttributeError is how numpy 2 breaks tflite-runtime
        reason = " ".join(str(problem).split()).rstrip(".")
        raise RuntimeUnavailable(f"the runtime {name} is installed, but fails to start: {reason}.") from None
    return TfliteSession(interpreter, data, runtime=name, runtime_version=version, threads=threads, signature=signature)


def open_signatures(data: bytes, signatures: Sequence[str], *, threads: int = 1) -> tuple[Session, ...]:
    """Load a TFLite file once and return a session for each of the signatures; only one of them may run at a time.

    Raises:
        RuntimeUnavailable: no runtime for TFLite files is installed or starts.
        BundleError: the content is no file that the runtime can load, or has no such signature.
    """
    from msd_edge.runtime.litert import TfliteSession

    first = open_session(data, "tflite", threads=threads, signature=signatures[0])
    assert isinstance(first, TfliteSession)
    return (first, *(first.share(name) for name in signatures[1:]))


def _explain_missing(*targets: Target) -> str:
    commands = " or ".join(_INSTALL[RUNTIMES[target][0]] for target in targets)
    return f"no runtime for {' or '.join(targets)} files is installed: {commands}"


def _interpreter(name: RuntimeName) -> tuple[type[Any], str]:
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter as LiteRt

        return LiteRt, metadata.version("ai-edge-litert")
    if name == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter as TfliteRuntime

        return TfliteRuntime, metadata.version("tflite-runtime")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what TensorFlow says while it starts is for its developers
    import tensorflow

    return tensorflow.lite.Interpreter, str(tensorflow.__version__)
