"""One target converted and proven in a process of its own, while this one does the other.

Conversions are Python, on one processor. The other process is started with ``python -m msd_edge.converters.beside``,
takes a ``Task`` as one line of JSON on its standard input, and later a ``Place``: where images lie and files go. First
it runs the network on the proof images, while this process converts the target that takes longest; then it makes its
own target. It writes JSON lines to its standard output, files into the bundle's folder, and ends when its standard
input does.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from msd_edge import errors
from msd_edge.bundle.manifest import Precision, Target, Variant
from msd_edge.converters.proof import Logits, ProofSet
from msd_edge.converters.variants import MadeVariant
from msd_edge.data.dataset import Images, Labels
from msd_edge.errors import CheckpointError, ExportError, MsdEdgeError
from msd_edge.typed import Model

if TYPE_CHECKING:
    from msd_edge.models.network import MultiExitNetwork

Step = Callable[[str], None]

_GRACE = 3.0
_IMAGES = "images.npz"
_REFERENCE = "reference.npy"


class Task(Model):
    """What the other process is to make.

    Attributes:
        run: the run folder; ``weights_sha256`` names the weights that were read there.
        keep_exits: as in ``ExportOptions``.
        target, precisions: the variants.
        split_sha256, max_drop, fallback: of the ``Prover``.
    """

    run: str
    weights_sha256: str
    keep_exits: tuple[int, ...]
    target: Target
    precisions: tuple[Precision, ...]
    split_sha256: str
    max_drop: float
    fallback: bool


class Place(Model):
    """Where it works.

    Attributes:
        folder: of the bundle that is being filled.
        work: a folder for what goes from one process to the other.
    """

    folder: str
    work: str


@dataclass
class Beside:
    """The other process, as seen from here.

    Attributes:
        task: what it makes.
        process, noise: itself, and what its libraries print.
        lines: what it said and nobody took yet; None at the end.
    """

    task: Task
    process: "subprocess.Popen[bytes]"
    noise: IO[bytes]
    lines: "queue.SimpleQueue[bytes | None]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self._heard: deque[dict[str, Any] | None] = deque()
        self._turn = threading.Lock()  # images are proven, and steps told, in several threads
        self._reader = threading.Thread(target=_pump, args=(self.process.stdout, self.lines), daemon=True)
        self._reader.start()

    @contextlib.contextmanager
    def work_in(self, folder: Path, images: Images, labels: Labels, activations: Images) -> Iterator["AtWork"]:
        """Let it begin; at the end of the block it has ended, and what went to and fro is gone.

        Args:
            folder: of the bundle, which is cleared away even after a kill.
            images, labels: to prove with.
            activations: to measure activation ranges on.
        """
        with tempfile.TemporaryDirectory(prefix="beside-", dir=folder.resolve()) as work:
            np.savez(Path(work) / _IMAGES, images=images, labels=labels, activations=activations)
            self.say(Place(folder=str(folder.resolve()), work=work))
            try:
                yield AtWork(self, Path(work))
            finally:
                _stop(self.process)  # before its folders go: it would make them anew

    def say(self, what: Model) -> None:
        """Send a line of JSON; if the process has failed meanwhile, what it says of that is read later."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(what.model_dump_json().encode() + b"\n")
            self.process.stdin.flush()

    def listen(self, step: Step) -> Iterator[dict[str, Any]]:
        """Yield what it says until it ends, but for progress, which is passed on, and errors, which are raised."""
        while (said := self._heard.popleft() if self._heard else _read(self.lines.get())) is not None:
            _raise_error(said)
            if "step" in said:
                step(said["step"])
            else:
                yield said

    def watched(self, step: Step) -> Step:
        """Return ``step``, which then raises as ``AtWork.finish`` does, if the other process has failed meanwhile.

        Work that tells its steps so ends with the other process, and not only when that is waited for.
        """

        def told(text: str) -> None:
            step(text)
            self._look()

        return told

    def _look(self) -> None:
        """Raise if it has failed or was killed; what else it said is kept for ``listen``."""
        with self._turn:
            code = self.process.poll()
            if code is not None:
                self._reader.join(_GRACE)  # its last words are on their way
            with contextlib.suppress(queue.Empty):
                while True:
                    self._heard.append(_read(self.lines.get_nowait()))
            for said in self._heard:
                _raise_error(said or {})
        if code:
            raise self.why_it_ended()

    def why_it_ended(self) -> ExportError:
        """Return the error of a process that ended before it was done."""
        code = self.process.wait()
        return ExportError(
            f"{self.task.target}: the process that converts beside this one ended with exit code {code}"
            f"{' (out of memory?)' if code == -9 else ''}{_last_words(self.noise)}."
        )


@dataclass(frozen=True)
class AtWork:
    """The other process, once it has what it needs; ``work`` as in ``Place``."""

    beside: Beside
    work: Path

    def take_reference(self, step: Step) -> Logits:
        """Wait for the network's logits of the proof images, (images, exits, classes); raises as ``finish`` does."""
        for said in self.beside.listen(step):
            if "reference" in said:
                reference: Logits = np.load(self.work / _REFERENCE, allow_pickle=False)
                return reference
        raise self.beside.why_it_ended()

    def finish(self, step: Step) -> tuple[MadeVariant, ...]:
        """Wait for its variants.

        Args:
            step: told what it is doing.

        Raises:
            MsdEdgeError: as it says itself (``ParityError``, ``AccuracyDropError``, …).
            OSError: as it says itself: a full disk.
            ExportError: it died, or wrote less than it had to.
        """
        task, made = self.beside.task, list[MadeVariant]()
        for said in self.beside.listen(step):
            if "variant" in said:
                variant = Variant.model_validate(said["variant"])
                golden = np.load(_golden_path(self.work, task, variant.precision), allow_pickle=False)
                made.append(MadeVariant(variant, golden))
        if self.beside.process.wait() or len(made) != len(task.precisions):
            raise self.beside.why_it_ended()
        return tuple(made)


@contextlib.contextmanager
def start_beside(task: Task) -> Iterator[Beside]:
    """Start the other process, which loads the network; at the end of the block it is gone."""
    # Its chatter goes to a file: a pipe that nobody empties would stop it.
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "msd_edge.converters.beside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            # What this process finds, the other finds, whatever lies in the current folder.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,  # Ctrl-C is for this process, which then stops the other
        )
        try:
            beside = Beside(task, process, noise)
            beside.say(task)
            yield beside
        finally:
            _stop(process)


def _pump(stream: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    with contextlib.suppress(ValueError, OSError):  # the stream is closed when the process has been stopped
        for line in stream:
            if line.endswith(b"\n"):  # or it was killed in the middle of it
                lines.put(line)
    lines.put(None)


def _read(line: bytes | None) -> dict[str, Any] | None:
    return None if line is None else json.loads(line)


def _raise_error(said: dict[str, Any]) -> None:
    if "errno" in said:
        raise OSError(said["errno"], said["message"], said["path"])
    if "error" in said:
        raise _error_class(said["error"])(said["message"])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _last_words(noise: IO[bytes]) -> str:
    noise.seek(0, os.SEEK_END)
    noise.seek(max(0, noise.tell() - 8192))
    lines = [line.strip() for line in noise.read().decode(errors="replace").splitlines() if line.strip()]
    return f"; its last line: {lines[-1][:300].rstrip('.')}" if lines else ""


def _error_class(name: str) -> type[MsdEdgeError]:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, MsdEdgeError) else ExportError


def _golden_path(work: Path, task: Task, precision: Precision) -> Path:
    return work / f"{task.target}-{precision}.npy"


def main() -> int:
    """Be the other process.

    Returns:
        0, or 1 after an error that was told.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")  # for our lines alone: libraries print to standard output
    os.dup2(2, 1)

    def say(**values: Any) -> None:
        stream.write(json.dumps(values) + "\n")
        stream.flush()

    try:
        _work(Task.model_validate_json(sys.stdin.buffer.readline()), say)
    except MsdEdgeError as problem:
        say(error=type(problem).__name__, message=str(problem))
        return 1
    except OSError as problem:
        say(errno=problem.errno, message=problem.strerror, path=problem.filename)
        return 1
    return 0


def _work(task: Task, say: Callable[..., None]) -> None:
    from msd_edge.files import sha256_file
    from msd_edge.segments import keep_exits
    from msd_edge.training.run import RunFolder, load_network

    run = Path(task.run)
    network = load_network(run)
    if sha256_file(RunFolder(run).weights_path) != task.weights_sha256:
        raise CheckpointError(f"{run}: its weights have changed since the export began; run the command again.")
    if task.keep_exits:
        network = keep_exits(network, task.keep_exits)

    def step(text: str) -> None:
        say(step=text)

    line = sys.stdin.buffer.readline()
    if not line:
        return  # the one that asked is gone, or has no images
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    place = Place.model_validate_json(line)
    with _told_of_numpy(place.folder):
        _make(task, place, network, step, say)


def _make(task: Task, place: Place, network: "MultiExitNetwork", step: Step, say: Callable[..., None]) -> None:
    import torch

    from msd_edge.converters.prove import Prover
    from msd_edge.converters.reference import run_network
    from msd_edge.converters.variants import make_variants, open_converter, prefix
    from msd_edge.processors import usable_processors

    work = Path(place.work)
    with np.load(work / _IMAGES, allow_pickle=False) as given:
        images, labels, activations = given["images"], given["labels"], given["activations"]
    step("running the network on the proof images")
    # The process that asked is converting meanwhile, on one processor.
    torch.set_num_threads(max(1, usable_processors() - 1))
    proof = ProofSet(images, labels, run_network(network, images))
    np.save(work / _REFERENCE, proof.reference, allow_pickle=False)
    say(reference=True)
    prepared = open_converter(task.target).prepare(network, prefix(step, task.target))
    prover = Prover(proof, task.split_sha256, task.max_drop, fallback=task.fallback)
    for precision in task.precisions:
        (made,) = make_variants(prepared, (precision,), prover, activations, Path(place.folder), step)
        np.save(_golden_path(work, task, precision), made.golden, allow_pickle=False)
        say(variant=made.variant.model_dump(mode="json"))


@contextlib.contextmanager
def _told_of_numpy(folder: str) -> Iterator[None]:
    """Say where, and what may be why, if NumPy writes less of an array than there is: its OSError has no number.

    Raises:
        ExportError: it did.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno is not None:
            raise
        raise ExportError(f"{folder}: {str(problem).rstrip('.')}; is the disk full?") from None


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: killed with -9 it cannot say so."""
    while os.read(0, 64):  # no buffered read: Python could not end while a thread waits in one
        pass
    os._exit(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
    sys.exit(130)
