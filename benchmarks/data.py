"""The data behind a bundle: found again through the run that the bundle was made from."""

from pathlib import Path

from msd_edge.bundle.reader import Bundle
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset
from msd_edge.data.load import load_dataset
from msd_edge.errors import DataError


def bundle_dataset(bundle: Bundle, data: str | None = None) -> Dataset:
    """Load the three splits that a bundle was trained and exported with.

    Args:
        bundle: the bundle; its manifest remembers the choice of data.
        data: where the data is now, if it has moved.

    Raises:
        DataError: the data cannot be loaded, or its classes or image size are not the bundle's.
    """
    config: DataConfig = bundle.manifest.source.data
    if data is not None:
        config = config.model_copy(update={"source": str(Path(data)) if Path(data).exists() else data})
    dataset = load_dataset(config)
    wanted = bundle.manifest.input
    if dataset.classes != bundle.manifest.classes:
        raise DataError(
            f"{config.source}: its classes are not those of {bundle.path}; name the data it was trained on."
        )
    if dataset.image_shape != (wanted.height, wanted.width, wanted.channels):
        raise DataError(f"{config.source}: its images are {dataset.image_shape}, those of {bundle.path} are not.")
    return dataset
