"""Write one test image of each class as a PNG file, to try ``msd-edge predict`` on: ``demo_images.py BUNDLE FOLDER``.

They are of the data that the bundle was trained with, and named by what they show: CLASS-test-PLACE.png.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from msd_edge.benchmarks.data import bundle_dataset
from msd_edge.bundle.reader import read_bundle


def main(bundle: Path, folder: Path) -> None:
    """Write the first test image of each class that has one."""
    dataset = bundle_dataset(read_bundle(bundle))
    folder.mkdir(parents=True, exist_ok=True)
    labels, places = np.unique(dataset.test.labels, return_index=True)
    for label, place, image in zip(labels, places, dataset.test.read(places), strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.save(folder / f"{dataset.classes[label]}-test-{place}.png")
    sys.stdout.write(f"{folder}: {len(places)} test images, each named by what it shows\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
