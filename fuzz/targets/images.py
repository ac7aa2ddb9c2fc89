"""Data: .npz files, images, APKs."""

from pathlib import Path

from fuzz.oracle import refuses
from fuzz.targets import Run, Target


def npz(folder: Path) -> Run:
    """A data set in a .npz file, with little memory allowed."""
    from msd_edge.data.config import DataConfig
    from msd_edge.data.load import load_dataset

    file = folder / "d.npz"
    config = DataConfig(source=str(file), memory_gib=0.001)

    def run(data: bytes) -> None:
        file.write_bytes(data)
        refuses(lambda: load_dataset(config))

    return run


def npy(folder: Path) -> Run:
    """One array of a .npz file: the zip is whole, the array lies."""
    import zipfile

    from msd_edge.data.config import DataConfig
    from msd_edge.data.load import load_dataset
    from msd_edge.data.npz import KEYS

    file = folder / "d.npz"
    config = DataConfig(source=str(file), memory_gib=0.001)
    with zipfile.ZipFile(Path(__file__).parents[1] / "corpus/npz/grey.npz") as archive:
        whole = {name: archive.read(f"{name}.npy") for name in KEYS}

    def run(data: bytes) -> None:
        key = (*KEYS, "classes")[data[0] % 5] if data else KEYS[0]
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in {**whole, key: data[1:]}.items():
                archive.writestr(f"{name}.npy", content)
        refuses(lambda: load_dataset(config))

    return run


def image(folder: Path) -> Run:
    """An image file, whatever its suffix says."""
    from msd_edge.bundle.manifest import InputSpec
    from msd_edge.runtime.preprocess import load_image

    file = folder / "a.png"
    spec = InputSpec(height=8, width=12, channels=3, mean=(0.0,), std=(1.0,))

    def run(data: bytes) -> None:
        file.write_bytes(data)
        refuses(lambda: load_image(file, spec))

    return run


def apk(folder: Path) -> Run:
    """An APK given with --apk."""
    from msd_edge.benchmarks.devices.app import read_apk

    file = folder / "a.apk"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        refuses(lambda: read_apk(file))

    return run


TARGETS = (
    Target("npz", npz, 3, native=True),
    Target("npy", npy, 1, native=True),
    Target("image", image, 2, native=True),
    Target("apk", apk, 6),
)
