"""What a study compares: read from a TOML file, turned into cells."""

import hashlib
import itertools
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from msd_edge.bundle.reader import explain
from msd_edge.errors import ConfigError
from msd_edge.models.build import ArchOption
from msd_edge.models.choices import BranchKind
from msd_edge.training.config import OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.typed import Model

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,60}$")]

# Settings of the training that were not there when the first results were kept.
_ADDED = ("initial_scale", "freeze_early", "whiten")


class NetworkSetting(Model):
    """A network with its exits; ``methods`` limits what it is trained with."""

    arch: str
    arch_options: dict[str, ArchOption] = Field(default_factory=dict)
    width: int | None = None
    exits: Annotated[int, Field(ge=1)] = 3
    exits_at: str | None = None
    branch: BranchKind = "sampled"
    branch_width: float = 1.0
    methods: tuple[Name, ...] | None = None


class DataSetting(Model):
    """A data set, or so many images of each class of it, and how long and how it is trained on.

    Attributes:
        source: as for ``train --data``.
        images_per_class: of the training images; None: all.
        optim: what differs from the study's own.
        flip: as for ``train --flip``; None: as it suits the data.
        cutout: as for ``train --cutout``.
        methods: what is compared here; None: all.
    """

    source: str
    images_per_class: Annotated[int, Field(ge=1)] | None = None
    optim: dict[str, float | int | str | bool] = Field(default_factory=dict)
    flip: bool | None = None
    cutout: Annotated[int, Field(ge=0)] = 0
    methods: tuple[Name, ...] | None = None


class MethodSetting(Model):
    """A method: settings of the loss, and which of them are looked for on the calibration split.

    Attributes:
        loss: settings of ``LossConfig``.
        search: {setting: values to try}; every combination is trained once with a seed of its own.
        optim: what differs in the training from that of the study and the data.
    """

    loss: dict[str, Any]
    optim: dict[str, float | int | str | bool] = Field(default_factory=dict)
    search: dict[str, tuple[Any, ...]] = Field(default_factory=dict)


class Study(Model):
    """The whole matrix.

    Attributes:
        baseline: the method that the others are tested against.
        trials: combinations that a method may try at most, the same for all.
        search_seed: of the trials, none of ``seeds``.
    """

    baseline: Name
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    search_seed: Annotated[int, Field(ge=0)] = 1000
    trials: Annotated[int, Field(ge=1, le=1000)] = 3
    optim: dict[str, float | int | str | bool] = Field(default_factory=dict)
    networks: Annotated[dict[Name, NetworkSetting], Field(min_length=1)]
    data: Annotated[dict[Name, DataSetting], Field(min_length=1)]
    methods: Annotated[dict[Name, MethodSetting], Field(min_length=1)]


@dataclass(frozen=True)
class Cell:
    """One run of the study.

    Attributes:
        network, data, method: names.
        seed: of the run.
        loss: of the method; a trial's has the values on trial.
        trial: number of the combination, None for a cell of the table.
    """

    network: str
    data: str
    method: str
    seed: int
    loss: LossConfig
    trial: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        end = f"seed{self.seed}" if self.trial is None else f"trial{self.trial}"
        return f"{self.data}--{self.network}--{self.method}--{end}"


def read_study(path: Path) -> Study:
    """Read a study.

    Raises:
        ConfigError: the file is missing or says something that cannot be run.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; a study is a TOML file (see docs/study.md).") from None
    except OSError as problem:
        raise ConfigError(f"{path}: it cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it cannot be read as TOML: it is no text.") from None
    except (ValueError, RecursionError) as problem:  # ValueError: also whole numbers of thousands of digits
        raise ConfigError(f"{path}: it cannot be read as TOML: {problem}.") from None
    try:
        study = Study.model_validate(raw)
    except ValidationError as problem:
        raise ConfigError(f"{path}: {explain(problem)}.") from None
    _check(study, path)
    return study


def _check(study: Study, path: Path) -> None:
    if study.baseline not in study.methods:
        raise ConfigError(f"{path}: baseline {study.baseline} is none of its methods ({', '.join(study.methods)}).")
    if study.search_seed in study.seeds or len(set(study.seeds)) < len(study.seeds):
        raise ConfigError(f"{path}: seeds must differ from each other and from search_seed.")
    limited = {f"networks.{name}": network.methods for name, network in study.networks.items()}
    limited |= {f"data.{name}": data.methods for name, data in study.data.items()}
    for where, methods in limited.items():
        for method in methods or ():
            if method not in study.methods:
                raise ConfigError(f"{path}: {where}: {method} is none of its methods.")
    for name, method_setting in study.methods.items():
        count = math.prod(len(values) for values in method_setting.search.values())
        if count > study.trials:
            many = count if count < 10**9 else "billions of"
            raise ConfigError(f"{path}: methods.{name} tries {many} combinations; every method may try {study.trials}.")
        for values in combinations(method_setting):
            make_loss(study, name, values, path)
    for data, method in itertools.product(study.data, study.methods):
        make_optim(study, data, method, path)


def combinations(method: MethodSetting) -> Iterator[dict[str, Any]]:
    """Yield the values to try, {} alone where nothing is looked for."""
    for values in itertools.product(*method.search.values()):
        yield dict(zip(method.search, values, strict=True))


def make_loss(study: Study, method: str, values: dict[str, Any], path: Path = Path("study")) -> LossConfig:
    """Return a method's loss with some values on trial.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """
    try:
        return LossConfig.model_validate({**study.methods[method].loss, **values})
    except ValidationError as problem:
        raise ConfigError(f"{path}: methods.{method}: {explain(problem)}.") from None


def make_optim(study: Study, data: str, method: str, path: Path = Path("study")) -> OptimConfig:
    """Return how runs of a method on a data set are trained.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """
    try:
        return OptimConfig.model_validate({**study.optim, **study.data[data].optim, **study.methods[method].optim})
    except ValidationError as problem:
        raise ConfigError(f"{path}: optim of data.{data} and methods.{method}: {explain(problem)}.") from None


def pairs(study: Study) -> Iterator[tuple[str, str, str]]:
    """Yield every (data, network, method) of the study."""
    for data, setting in study.data.items():
        for name, network in study.networks.items():
            for method in network.methods or study.methods:
                if setting.methods is None or method in setting.methods:
                    yield data, name, method


def fingerprint(study: Study, cell: Cell) -> str:
    """Return what a kept result must have been made with: a hash of all settings that decide about it."""
    optim = make_optim(study, cell.data, cell.method)
    parts = (study.networks[cell.network], study.data[cell.data], optim, cell.loss)
    # What else is compared decides nothing about a cell; results from before a setting was there stay what they are.
    left_out = {"methods"}
    left_out |= set() if study.data[cell.data].cutout else {"cutout"}
    left_out |= {name for name in _ADDED if getattr(optim, name) == OptimConfig.model_fields[name].default}
    text = "\n".join([*(part.model_dump_json(exclude=left_out) for part in parts), str(cell.seed)])
    return hashlib.sha256(text.encode()).hexdigest()
