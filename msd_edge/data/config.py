"""Which data, how it is split: what a run remembers so that every later command finds the same images."""

from typing import Annotated

from pydantic import Field

from msd_edge.typed import Model


class DataConfig(Model):
    """The choice of data.

    Attributes:
        source: ``digits``, ``cifar10``, ``cifar100``, ``fashion-mnist``, a path to a .npz file or a folder (absolute).
        root: where torchvision's sets are kept and downloaded to.
        size: (height, width) to resize to (shorter side, centre crop); None: 224 x 224 for folders, else as they are.
        channels: 1 (grey) or 3 (RGB); None: 3 for folders, else as they are.
        calibration_share: the share of training images cut off for calibration, stratified.
        test_share: the share cut off for testing where the source has no split of its own.
        seed: of the cuts.
        skip_bad: leave unreadable images out instead of stopping.
        download: allow torchvision to download.
        memory_gib: keep images in memory up to this size, stream from disk beyond it.
    """

    source: str = "digits"
    root: str = "data"
    size: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]] | None = None
    channels: Annotated[int, Field(ge=1, le=3)] | None = None
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 0
    skip_bad: bool = False
    download: bool = True
    memory_gib: Annotated[float, Field(ge=0)] = 4.0
