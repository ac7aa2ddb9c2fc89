"""The run folder: configuration, weights, resumable state, a line of metrics an epoch.

    run.json            the resolved configuration (RunInfo)
    model.safetensors   weights of the best epoch on the calibration split
    state.safetensors   everything needed to go on: weights, momentum, average, epoch
    metrics.jsonl       a line an epoch

A run stopped anywhere goes on from its last whole epoch. Weights are written after the state, which holds the same
ones, so that resuming can always write them again.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from msd_edge.bundle.reader import explain
from msd_edge.errors import CheckpointError
from msd_edge.files import clear_partial, parse_json, read_json, write_bytes, write_json, write_text
from msd_edge.locks import LOCK, hold_lock
from msd_edge.models.build import SeparateExits, build_network
from msd_edge.models.network import MultiExitNetwork
from msd_edge.training.config import SCHEMA_VERSION, RunInfo, TrainConfig
from msd_edge.training.trust import check_code, remember_code
from msd_edge.typed import refuse_newer

# Folders inside that of a run which a new one is to replace: the new one in its first epoch; then, complete.
_NEXT = ".next"
_READY = ".ready"
_LONGEST_SIDE = 8192


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path

    @property
    def info_path(self) -> Path:
        """Where the configuration is."""
        return self._at("run.json")

    @property
    def weights_path(self) -> Path:
        """Where the best weights are."""
        return self._at("model.safetensors")

    @property
    def state_path(self) -> Path:
        """Where the resumable state is."""
        return self._at("state.safetensors")

    @property
    def metrics_path(self) -> Path:
        """Where the metrics are."""
        return self._at("metrics.jsonl")

    def read_info(self) -> RunInfo:
        """Read ``run.json``.

        Raises:
            CheckpointError: it is missing, damaged, from a newer release, or would execute code that is strange here.
        """
        if self.path.is_file():
            raise CheckpointError(f"{self.path}: a run is a folder with a run.json, and this is a file.")
        value = read_json(self.info_path, what="run", error=CheckpointError)
        refuse_newer(self.info_path, value, SCHEMA_VERSION, CheckpointError)
        stated = value.get("schema_version", 1) if isinstance(value, dict) else 1
        if type(stated) is not int:  # True and 1.0 are equal to 1
            raise CheckpointError(f"{self.info_path}: its schema_version is {str(stated)[:20]}, no whole number.")
        try:
            info = RunInfo.model_validate(value)
        except ValidationError as problem:
            raise CheckpointError(f"{self.info_path}: {explain(problem)}.") from None
        check_code(info.config.network.arch, self.info_path)
        wrong = _contradiction(info)
        if wrong:
            raise CheckpointError(f"{self.info_path}: {wrong}; it is no run of ours, or was changed by hand.")
        return info

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json``; code of the user's own that it names has been run by now, on this user's word."""
        remember_code(info.config.network.arch)
        write_json(self.info_path, info.model_dump(mode="json"))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``, oldest first, up to one that a crash cut off."""
        if not self.metrics_path.exists():
            return []
        rows: list[dict[str, Any]] = []
        for line in self.metrics_path.read_bytes().splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                break
            if not _is_metrics(row):
                break
            rows.append(row)
        return rows

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        write_text(self.metrics_path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))

    def has_state(self) -> bool:
        """Return whether there is a state to go on from."""
        return self.state_path.exists()

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write tensors with a JSON document in the file's header, whole or not at all."""
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(path, save(flat, metadata={"msd_edge": json.dumps(dict(facts), allow_nan=False)}))

    def read_tensors(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read what ``write_tensors`` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, or no safetensors file of ours.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = parse_json((file.metadata() or {})["msd_edge"])
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
        except FileNotFoundError:
            raise CheckpointError(
                f"{path}: there is no such file; this run has not finished its first epoch."
            ) from None
        except KeyError:
            raise CheckpointError(f"{path}: not written by msd-edge (its header has no facts of ours).") from None
        except (SafetensorError, ValueError, OSError) as problem:
            reason = " ".join(str(problem).split()).rstrip(".")
            raise CheckpointError(f"{path}: damaged, or not written by msd-edge ({reason}).") from None

    def begin(self) -> "RunFolder":
        """Return the folder that a new run is written to until ``commit``.

        Where a run is already, that is a folder inside it: the old run stays until the new one can stand for itself.
        """
        if not self.info_path.exists():
            self._clear()
            return self
        following = RunFolder(self.path / _NEXT)
        shutil.rmtree(following.path, ignore_errors=True)
        following.path.mkdir()
        return following

    def commit(self) -> "RunFolder":
        """Put a run that has finished its first epoch in the place of the one it replaces, and return its folder.

        One renaming decides: before it the old run is there whole, after it the new one, wherever a process is killed.
        """
        if self.path.name != _NEXT:
            return self
        final = RunFolder(self.path.parent)
        os.rename(self.path, final.path / _READY)
        final._settle()
        return final

    def discard(self) -> None:
        """Remove a run that has not finished an epoch, and its folder if nothing else is in it.

        A run that it was to replace stays.
        """
        if (self.path / _NEXT).exists():
            shutil.rmtree(self.path / _NEXT)
            return
        if self.metrics_path.exists():
            return
        self._clear()
        self.info_path.unlink(missing_ok=True)

    def _at(self, name: str) -> Path:
        ready = self.path / _READY / name
        return ready if ready.exists() else self.path / name

    def _settle(self) -> None:
        """Finish a replacement; a killed process may have begun it."""
        ready = self.path / _READY
        if not ready.is_dir():
            return
        for path in sorted(ready.iterdir()):
            os.replace(path, self.path / path.name)
        ready.rmdir()

    def _clear(self) -> None:
        for path in (self.state_path, self.weights_path, self.metrics_path):
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, so that no second process trains into it, and clear away what killed processes left.

        A folder with nothing in it is removed at the end.

        Raises:
            CheckpointError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with hold_lock(self.path / LOCK, self.path, work="is training into this run", error=CheckpointError):
                self._settle()
                shutil.rmtree(self.path / _NEXT, ignore_errors=True)
                clear_partial(self.path)
                yield
        finally:
            with suppress(OSError):  # it holds a run
                self.path.rmdir()


def _contradiction(info: RunInfo) -> str:
    """Return what of a configuration does not fit together, before a network is built of it; empty if all does."""
    network = info.config.network
    if network.classes != len(info.classes):
        return f"it names {len(info.classes)} classes, and its network has {network.classes}"
    if network.exits != len(info.places):
        return f"it names {len(info.places)} places of exits, and its network has {network.exits}"
    channels, height, width = network.image_shape
    if channels not in (1, 3) or not 1 <= height <= _LONGEST_SIDE or not 1 <= width <= _LONGEST_SIDE:
        return f"its network takes images {list(network.image_shape)}, not [1 or 3, height, width]"
    if len(network.mean) != len(network.std) or len(network.mean) not in (1, channels):
        return f"its normalization has {len(network.mean)} means and {len(network.std)} deviations"
    return ""


def _is_metrics(row: Any) -> bool:
    """Tell whether a line of metrics says what is read of it: the epoch, and a share for every exit."""
    if not isinstance(row, dict) or type(row.get("epoch")) is not int:
        return False
    accuracy = row.get("accuracy")
    return isinstance(accuracy, list) and all(type(value) in (int, float) and 0 <= value <= 1 for value in accuracy)


def make_network(config: TrainConfig) -> MultiExitNetwork | SeparateExits:
    """Build the network that a configuration trains, with fresh weights."""
    return SeparateExits(config.network) if config.loss.method == "single" else build_network(config.network)


def load_trained(path: Path | RunFolder) -> tuple[MultiExitNetwork | SeparateExits, RunInfo, int]:
    """Load a run's best weights, in evaluation mode.

    Args:
        path: of the run, or its folder.

    Returns:
        The network, the run's configuration, and the epoch (1-based) that the weights are of.

    Raises:
        CheckpointError: the run is missing or damaged, or the weights do not fit the network.
    """
    folder = path if isinstance(path, RunFolder) else RunFolder(path)
    info = folder.read_info()
    network = make_network(info.config)
    tensors, facts = folder.read_tensors(folder.weights_path)
    load_weights(network, tensors, folder.weights_path)
    epoch = facts.get("epoch") if isinstance(facts, dict) else None
    if not isinstance(epoch, int):
        raise CheckpointError(f"{folder.weights_path}: it does not say which epoch it is of; it is no file of ours.")
    return network.eval(), info, epoch


def load_network(path: Path | str) -> MultiExitNetwork:
    """Load a run's multi-exit network, in evaluation mode: logits of every exit for raw pixels 0..255, NCHW.

    Raises:
        CheckpointError: as ``load_trained``; also where the exits were trained as separate networks.
    """
    network, _, _ = load_trained(Path(path))
    if isinstance(network, SeparateExits):
        raise CheckpointError(
            f"{path}: --method single trained every exit as a network of its own, so there is no cascade to cut; "
            "train with another method."
        )
    return network


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a network.

    Raises:
        CheckpointError: names or shapes differ; the first one is named.
    """
    own = network.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            raise CheckpointError(
                f"{path}: tensor {name} is {'missing' if name in own else 'not part of this network'}."
            )
        if own[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{path}: {name} is {list(tensors[name].shape)}, the network {list(own[name].shape)}."
            )
    network.load_state_dict(dict(tensors))
