"""The embedded default: 1,797 real handwritten digits that ship with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""

import numpy as np

from msd_edge.data.dataset import hold
from msd_edge.data.splits import Source
from msd_edge.errors import DataError

SIDE = 16


def load_digits() -> Source:
    """Return the digits as 16 x 16 grey images, with no test split of their own.

    They are 8 x 8 with values 0..16: scaled to 0..255, then enlarged to 16 x 16 by Pillow's bilinear filter, so that
    a network has room for a stage or two of stride 2.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise DataError("digits ships with scikit-learn, which is missing: pip install scikit-learn.") from None
    from PIL import Image

    found = datasets.load_digits()
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    enlarged = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in pixels]
    images = np.stack([np.asarray(image) for image in enlarged])[..., np.newaxis]
    classes = tuple(str(name) for name in found.target_names)
    return Source("digits", classes, (SIDE, SIDE, 1), hold(images, found.target), None)
