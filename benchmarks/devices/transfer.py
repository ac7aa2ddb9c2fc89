"""Files to a phone and into the app: by content, compared after every step, gone on with after a break."""

import contextlib
import secrets
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from msd_edge.benchmarks.devices.adb import LONG, AdbDevice, explain_failure
from msd_edge.benchmarks.devices.app import App
from msd_edge.bundle.files import list_files
from msd_edge.bundle.manifest import Variant
from msd_edge.bundle.reader import Bundle
from msd_edge.errors import AdbError, DeviceError
from msd_edge.files import sha256_bytes, sha256_file

STORE = "/data/local/tmp/msd-edge/store"


@dataclass(frozen=True)
class Item:
    """A file to be brought. ``source``: here; ``size``: bytes."""

    source: Path
    sha256: str
    size: int


# Called with bytes done and bytes in all.
OnBytes = Callable[[int, int], None]


def item_of(path: Path) -> Item:
    """Return a file of this machine as something to bring."""
    return Item(path, sha256_file(path), path.stat().st_size)


def bundle_items(bundle: Bundle, variants: Sequence[Variant]) -> dict[str, Item]:
    """Return the files of some variants of a bundle, its golden samples and its manifest, by path in the bundle.

    Every file is proven to be the manifest's before anything is sent.

    Raises:
        BundleError: a file is missing or damaged.
    """
    return {file.path: Item(bundle.path / file.path, file.sha256, file.size) for file in list_files(bundle, variants)}


class Store:
    """The folder on a phone where pushed files wait, named by their SHA-256."""

    def __init__(self, adb: AdbDevice) -> None:
        self._adb = adb
        self._brought: set[str] = set()

    def push(self, items: Iterable[Item], on_bytes: OnBytes = lambda done, total: None) -> None:
        """Bring files that are not there yet; what is there with the right SHA-256 is not sent again.

        Raises:
            DeviceError: the connection broke, the storage is full, or what arrived is something else.
        """
        wanted = {item.sha256: item for item in items}
        self._adb.must(("mkdir", "-p", STORE), what="making a folder for files")
        there = self._there(wanted)
        self._brought |= set(wanted)
        done, total = 0, sum(item.size for item in wanted.values())
        for item in wanted.values():
            if item.sha256 not in there:
                self._push(item)
            done += item.size
            on_bytes(done, total)

    def place(self, app: App, files: Mapping[str, Item]) -> None:
        """Copy pushed files into the app. ``files``: by path relative to its ``files/``.

        Raises:
            DeviceError: the connection broke, the storage is full, or what arrived is something else.
        """
        for target, item in files.items():
            what = f"copying {PurePosixPath(target).name} into the app"
            path = shlex.quote(f"files/{target}")
            folder = shlex.quote(f"files/{PurePosixPath(target).parent}")
            inside = f"mkdir -p {folder} && cat > {path} && sha256sum {path}"
            line = f"cat {STORE}/{item.sha256} | {app.as_app(inside)}"
            answer = self._adb.shell(line, what=what, timeout=LONG)
            if answer.code:
                raise explain_failure(self._adb.serial, what, answer.words)
            _compare(self._adb.serial, target, item, answer.out)

    def clear(self) -> None:
        """Remove what this object brought, and the folders if nothing else is in them."""
        names = " ".join(f"{name} {name}.part" for name in sorted(self._brought))
        line = f"cd {STORE} && rm -f {names}; cd /data/local/tmp && rmdir msd-edge/store msd-edge"
        if self._brought:
            with contextlib.suppress(DeviceError):
                self._adb.shell(line, what="tidying up")
        self._brought.clear()

    def _there(self, wanted: Mapping[str, Item]) -> set[str]:
        """Return which files are there whole."""
        listed = self._adb.must(("ls", STORE), what="looking what is there").split()
        names = [name for name in listed if name in wanted]
        if not names:
            return set()
        said = self._adb.must(f"cd {STORE} && sha256sum {' '.join(names)}", what="comparing files", timeout=LONG)
        return {name for sha256, _, name in (line.partition("  ") for line in said.splitlines()) if sha256 == name}

    def _push(self, item: Item) -> None:
        what = f"sending {item.source.name} ({item.size:,} bytes)"
        part = f"{STORE}/{item.sha256}.part"
        self._adb.push(item.source, part, what=what)
        # Size and exit code are no proof: only the content is.
        said = self._adb.must(("sha256sum", part), what=f"comparing {item.source.name}", timeout=LONG)
        _compare(self._adb.serial, item.source.name, item, said)
        self._adb.must(("mv", part, f"{STORE}/{item.sha256}"), what=f"keeping {item.source.name}")


def deploy(adb: AdbDevice, app: App, bundle: Bundle, name: str, on_bytes: OnBytes) -> None:
    """Bring a whole bundle into the app's files; the app sees the old one or the new one, never a half.

    Args:
        adb: the device.
        app: on it, installed.
        bundle: what to bring.
        name: of its folder there.
        on_bytes: called with progress.

    Raises:
        BundleError: a file is missing or damaged.
        DeviceError: the connection broke, the storage is full, or what arrived is something else.
    """
    items = bundle_items(bundle, bundle.manifest.variants)
    incoming = f"bundles/.incoming-{secrets.token_hex(8)}"
    store = Store(adb)
    try:
        store.push(items.values(), on_bytes)
        store.place(app, {f"{incoming}/{path}": item for path, item in items.items()})
        old = f"bundles/.old-{secrets.token_hex(8)}"
        new = shlex.quote(f"files/bundles/{name}")
        app.must(
            f"if [ -e {new} ]; then mv {new} files/{old}; fi; mv files/{incoming} {new} && rm -rf files/{old}",
            what=f"putting {name} into place",
        )
    except BaseException:
        with contextlib.suppress(DeviceError):
            app.run(f"rm -rf files/{incoming}", what="tidying up")
        raise
    finally:
        store.clear()


def _compare(serial: str, name: str, item: Item, said: str) -> None:
    words = said.split()
    if not words or words[0] != item.sha256:
        raise AdbError(
            f"{serial}: {name} arrived as something else (SHA-256 differs); run it again, with another cable if this "
            "goes on."
        )


def write_item(path: Path, data: bytes) -> Item:
    """Write a file here and return it as something to bring."""
    path.write_bytes(data)
    return Item(path, sha256_bytes(data), len(data))
