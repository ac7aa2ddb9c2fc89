"""A data set that fits the tiny bundle, and a bundle with a stand-alone exit."""

from pathlib import Path

import numpy as np
from support import tinynet
from support.bundles import make_bundle, reference_logits

from msd_edge.bundle.manifest import ExitFile
from msd_edge.bundle.reader import Bundle, read_bundle
from msd_edge.data.dataset import Dataset, MemorySet, hash_image

CLASSES = ("class a", "class b", "class c", "class d")


def make_dataset(test: int = 48, *, classes: tuple[str, ...] = CLASSES) -> Dataset:
    """Return a data set whose labels are mostly what the tiny network's last exit says; ``test``: images to test on."""
    images = tinynet.make_images(test + 8, 3, seed=5)
    labels = reference_logits(images)[:, -1].argmax(axis=1).astype(np.int64)
    labels[::5] = (labels[::5] + 1) % 4
    parts = [slice(0, 4), slice(4, 8), slice(8, None)]
    sets = [MemorySet(images[p], labels[p], tuple(hash_image(image) for image in images[p])) for p in parts]
    return Dataset("tiny", classes, (tinynet.HEIGHT, tinynet.WIDTH, 3), *sets)


def make_alone(folder: Path, variant: str) -> Bundle:
    """Write a bundle of one exit whose only segment is its stand-alone exit as well, and open it."""
    bundle = read_bundle(make_bundle(folder, variants=(variant,), exits=1))
    (found,) = bundle.manifest.variants
    (segment,) = found.segments
    values = segment.model_dump(exclude={"inputs", "features"})
    alone = ExitFile.model_validate({**values, "image": segment.inputs[0].model_dump()})
    changed = found.model_copy(update={"exits": (alone,)})
    manifest = bundle.manifest.model_copy(update={"variants": (changed,)})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return read_bundle(folder)
