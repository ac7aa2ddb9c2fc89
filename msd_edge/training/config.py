"""The resolved configuration of a run."""

from typing import Annotated, Literal

from pydantic import Field

from msd_edge.bundle.manifest import Sha256
from msd_edge.data.config import DataConfig
from msd_edge.models.build import NetworkConfig
from msd_edge.training.choices import Precision, Schedule
from msd_edge.training.methods import LossConfig
from msd_edge.typed import Model

SCHEMA_VERSION = 1


class OptimConfig(Model):
    """SGD with Nesterov momentum and a learning rate that changes with every step.

    Attributes:
        epochs: how many times every training image is seen.
        batch_size: images a step.
        lr: the highest learning rate.
        momentum: of SGD.
        weight_decay: on convolution and linear weights; BatchNorm and biases have none.
        schedule: one-cycle: linear up over ``warmup``, linear down to 0; cosine: the same rise, then half a cosine.
        warmup: share of all steps.
        freeze_trunk: trunk and last exit stay as they are, BatchNorm's statistics included; branches are trained, and
            the last exit's classifier where it is new.
        qat_epochs: so many more, in which the network computes as its int8 files will.
        qat_lr: their highest learning rate, as a share of ``lr``; it falls to 0 by half a cosine.
        initial_scale: side of the images in the first third of the epochs, as a share of the whole; it grows over the
            second third (progressive resizing); 1: whole images throughout.
        freeze_early: share of the epochs after which the trunk's first piece is frozen, its statistics included; those
            behind it follow, the last piece and the branches are trained to the end. Each piece's learning rate falls
            to 0 until then. 1: none.
        whiten: the first convolution begins with what patches of the training images are made of.
        ema: decay a step of an exponential moving average of the weights, which is then what is validated and kept;
            0: none.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    batch_size: Annotated[int, Field(ge=2, le=1 << 20)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Schedule = "cosine"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    freeze_trunk: bool = False
    qat_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    qat_lr: Annotated[float, Field(gt=0, le=1)] = 0.05
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    initial_scale: Annotated[float, Field(ge=0.25, le=1)] = 1.0
    freeze_early: Annotated[float, Field(ge=0.1, le=1)] = 1.0
    whiten: bool = False

    @property
    def all_epochs(self) -> int:
        """Epochs of both kinds."""
        return self.epochs + self.qat_epochs


class AugmentConfig(Model):
    """Random crop after padding by ``pad`` pixels, horizontal flip, a ``cutout`` square of so many pixels."""

    pad: Annotated[int, Field(ge=0)]
    flip: bool
    cutout: Annotated[int, Field(ge=0)] = 0


class ComputeConfig(Model):
    """Where and how it computes. ``precision`` auto: bf16 where the processor has it and a timed step is faster."""

    device: str = "cpu"
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False
    workers: Annotated[int, Field(ge=0)] = 2


class StartConfig(Model):
    """Weights that training starts from.

    Attributes:
        source: where they were.
        sha256: of all tensors with their names.
        new_classifier: they had none for these classes, so the last exit's is new and trained, whatever is frozen.
    """

    source: str
    sha256: Sha256
    new_classifier: bool = False


class TrainConfig(Model):
    """All that decides what a run computes."""

    data: DataConfig
    network: NetworkConfig
    loss: LossConfig
    optim: OptimConfig
    augment: AugmentConfig
    compute: ComputeConfig
    start: StartConfig | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class RunInfo(Model):
    """``run.json``: the configuration, and what the data was when training began."""

    schema_version: Literal[1] = 1
    created: str
    config: TrainConfig
    classes: tuple[str, ...]
    train_sha256: Sha256
    calibration_sha256: Sha256
    test_sha256: Sha256
    places: tuple[str, ...]
    versions: dict[str, str]
