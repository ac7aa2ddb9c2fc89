"""The data behind a bundle: found again through the run that the bundle was made from."""

from pathlib import Path

from msd_edge.bundle.reader import Bundle
from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import Dataset, hash_split
from msd_edge.data.load import load_dataset
from msd_edge.errors import DataError


def bundle_dataset(bundle: Bundle, data: str | None = None) -> Dataset:
    """Load the three splits that a bundle was trained and exported with.

    Args:
        bundle: the bundle; its manifest remembers the choice of data.
        data: where the data is now, if it has moved.

    Raises:
        DataError: the data cannot be loaded, or it is not what the bundle's run was trained with.
    """
    config: DataConfig = bundle.manifest.source.data
    if data is not None:
        config = config.model_copy(update={"source": str(Path(data)) if Path(data).exists() else data})
    dataset = load_dataset(config)
    check_dataset(bundle, dataset)
    return dataset


def check_dataset(bundle: Bundle, dataset: Dataset) -> None:
    """Check that data is what a bundle's run was trained with, image by image where figures depend on it.

    Splits may be cut anew from whatever is in a folder now. An image that was added there moves others, and what was a
    training image then may be a test image now; the hashes of the splits tell.

    Raises:
        DataError: classes, the size of the images, calibration images or test images differ.
    """
    source, wanted = bundle.manifest.source, bundle.manifest.input
    if dataset.classes != bundle.manifest.classes:
        raise DataError(f"{dataset.name}: its classes are not those of {bundle.path}; name the data it was trained on.")
    shape = (wanted.height, wanted.width, wanted.channels)
    if dataset.image_shape != shape:
        raise DataError(
            f"{dataset.name}: images are {dataset.image_shape}, and {bundle.path} takes {shape} "
            "(height, width, channels)."
        )
    splits = {"calibration": dataset.calibration, "test": dataset.test}
    known = {"calibration": source.calibration_sha256, "test": source.test_sha256}
    other = [name for name, split in splits.items() if hash_split(split) != known[name]]
    if other:
        raise DataError(
            f"{dataset.name}: the {' and '.join(other)} images are not those that the run of {bundle.path} was trained "
            "with; some of them may have been training images: name the data as it was, or train and export anew."
        )
