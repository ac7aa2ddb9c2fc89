"""Disturbs one command at a time, and looks what is left; see ``kill_anywhere``."""

import contextlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msd_edge.benchmarks.kill_cases import BEGINNING, Case
from msd_edge.benchmarks.kill_checks import (
    check_alone,
    check_in_place,
    check_refusal,
    describe_remains,
    part_of,
    take_stock,
)
from msd_edge.benchmarks.kill_place import Ended, Place, Server
from msd_edge.errors import MsdEdgeError

# Imported before anything is forked, so that the first command lines need not do it one after the other.
_HEAVY = ["torch", "sklearn.datasets", "onnx", "onnxruntime"]
_ATTEMPTS = 5
_DISK = 64 << 20
_PAGE = 4096


@dataclass(frozen=True)
class Reference:
    """A case that nobody disturbed.

    Attributes:
        ended: how it ended.
        names: of all files afterwards.
        kept: among temporary files.
        stock: the hashes of all files afterwards.
        grown: by how many bytes there is more.
    """

    ended: Ended
    names: frozenset[str]
    kept: frozenset[str]
    stock: dict[str, str]
    grown: int


@dataclass
class Tally:
    """What happened to one command. ``faults``: sentences, each with what it needs to be seen again."""

    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Harness:
    """Tries cases in places of their own."""

    def __init__(self, root: Path, seed: int, say: Callable[[str], None]) -> None:
        self.root, self.say = root, say
        self.random = random.Random(seed)
        self.server = Server()
        self.start = root / "start"
        self.tries = 0
        self.references: dict[Case, Reference] = {}
        self.seen: set[str] = set()

    def prepare(self, *more: tuple[str, ...]) -> None:
        """Make what the cases start from.

        Args:
            more: command lines that are run once besides, for the modules that they import; what they make is gone
                afterwards.
        """
        self.server.learn(_HEAVY)
        with self._place(None) as place:
            place.home.mkdir(parents=True)
            place.scratch.mkdir()
            for number, arguments in enumerate((*BEGINNING, *more), 1):
                self._must(place, arguments)
                self.server.learn(Path(f"{place.log('log')}.modules").read_text().splitlines())
                if number == len(BEGINNING):
                    shutil.copytree(place.home, self.start)

    def reference(self, case: Case) -> Reference:
        """Run a case undisturbed, once."""
        if case not in self.references:
            with self._place(self.start) as place:
                ended = self._must(place, case.arguments)
                after = take_stock(place.home)
                wrong = [*case.examine(place.home), *check_in_place(ended.changes, place.home)]
                if wrong:
                    raise MsdEdgeError(f"{case.command}: undisturbed, already: {'; '.join(wrong)}.")
                # Folders of libraries, torch's for compiled code: what stays in any case is no remnant of a kill.
                kept = frozenset(take_stock(place.scratch))
                self.say(
                    f"{case.command} undisturbed: {ended.seconds:.2f} s, {len(ended.changes.splitlines())} changes"
                    + (f", leaves {', '.join(sorted(kept))} among temporary files" if kept else "")
                )
                size = sum(path.stat().st_size for path in place.home.rglob("*") if path.is_file())
                first = sum(path.stat().st_size for path in self.start.rglob("*") if path.is_file())
                self.references[case] = Reference(ended, frozenset(after), kept, after, max(0, size - first))
        return self.references[case]

    def kill(self, case: Case, tally: Tally, *, by_change: bool) -> None:
        """Kill a case at one random moment."""
        reference = self.reference(case)
        with self._place(self.start) as place:
            if by_change:
                at = self.random.randint(1, len(reference.ended.changes.splitlines()))
                what = f"before change {at}"
                ended = place.run(case.arguments, kill_at=at)
            else:
                delay = self.random.uniform(0, reference.ended.seconds)
                what = f"after {delay:.3f} s"
                began = time.monotonic()
                process = place.start(case.arguments)
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                ended = place.end(process, began)
            self._look(case, place, ended, tally, f"killed {what}", allowed=(-signal.SIGKILL,))

    def fill_disk(self, case: Case, tally: Tally) -> None:
        """Let a case run out of space at a random size."""
        reference = self.reference(case)
        need = reference.grown + 2 * sum(
            path.stat().st_size for path in self.start.rglob("*") if str(path.relative_to(self.start)) in case.targets
        )
        free = self.random.randrange(0, max(2 * _PAGE, need + 16 * _PAGE), _PAGE)
        with self._disk() as disk, self._place(self.start, disk) as place:
            filler = place.root / "filler"
            if disk is None:
                ended = place.run(case.arguments, largest=max(1, free // 4))
            else:
                space = os.statvfs(place.root)
                with filler.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free))
                ended = place.run(case.arguments)
                filler.unlink()
            self._look(case, place, ended, tally, f"{free:,} bytes free")

    def close_folder(self, case: Case, tally: Tally) -> None:
        """Take away permission to write: before a case begins, or while it works."""
        reference = self.reference(case)
        delay = self.random.choice((0.0, self.random.uniform(0, reference.ended.seconds)))
        with self._place(self.start) as place:
            if not delay:
                place.set_writable(False)
            began = time.monotonic()
            process = place.start(case.arguments)
            time.sleep(delay)
            place.set_writable(False)
            ended = place.end(process, began)
            place.set_writable(True)
            self._look(case, place, ended, tally, f"closed to writing after {delay:.3f} s")

    def start_twice(self, case: Case, tally: Tally) -> None:
        """Start a case while the same one runs."""
        for _ in range(_ATTEMPTS):
            with self._place(self.start) as place:
                began = time.monotonic()
                first = place.start(case.arguments, name="first")
                held = place.halt(first)
                second = place.run(case.arguments, name="second") if held else None
                with contextlib.suppress(ProcessLookupError):
                    os.kill(first, signal.SIGCONT)
                ended = place.end(first, began, name="first")
            if second is None:  # it had ended before it was seen
                continue
            wrong = check_refusal(second.code, second.said)
            if f"process {first} on " not in second.said:
                wrong.append(f"the second was told {second.said[:200]!r}")
            if ended.code:
                wrong.append(f"the first ended with {ended.code}: {ended.said[:200]!r}")
            tally.seen["second told who holds it"] += not wrong
            break
        else:
            wrong = [f"{_ATTEMPTS} times it had ended before it was seen at work"]
        tally.faults += [f"{' '.join(case.arguments)}: twice at once: {text}" for text in wrong]

    def _look(
        self, case: Case, place: Place, ended: Ended, tally: Tally, what: str, allowed: tuple[int, ...] = ()
    ) -> None:
        """Look at what is left, run the command again, and look once more."""
        wrong = check_alone(str(place.root))
        if ended.code and ended.code not in allowed:
            wrong += check_refusal(ended.code, ended.said)
        tally.seen["moments"] += 1
        tally.seen["ended before" if ended.code == 0 else "stopped"] += 1
        wrong += self._compare(case, place, tally)
        remains = describe_remains(case.arguments, place.home, place.scratch)
        if wrong or remains not in self.seen:  # from the same files the same command does the same
            wrong += self._again(case, place, tally)
            if not wrong:
                self.seen.add(remains)
        else:
            tally.seen["as before"] += 1
        tally.faults += [f"{' '.join(case.arguments)}: {what}: {text}" for text in wrong]
        for text in wrong:
            self.say(f"FAULT {case.command} {what}: {text}")

    def _compare(self, case: Case, place: Place, tally: Tally) -> list[str]:
        now = {name: value for name, value in take_stock(place.home).items() if not _is_temporary(name)}
        old, new = part_of(place.before, *case.targets), part_of(now, *case.targets)
        wrong = [
            f"{name} is {'changed' if name in now else 'lost'}"
            for name, value in place.before.items()
            if name not in old and now.get(name) != value
        ]
        if not any(new.values()):  # no file, an empty folder at most
            tally.seen["nothing yet"] += 1
            wrong += [f"{case.targets[0]} is lost"] if old else []
        elif new == old:
            tally.seen["old kept"] += 1
        else:
            tally.seen["new"] += 1
            wrong += case.examine(place.home)
        return wrong

    def _again(self, case: Case, place: Place, tally: Tally) -> list[str]:
        reference = self.references[case]
        # A run that has taken an old one's place is gone on with: the same command would begin once more.
        begun = case.command == "train" and case.replaces and _is_new(case, place)
        ended = place.run(case.resumes if begun else case.arguments, name="again")
        wrong: list[str] = []
        if ended.code == 0:
            tally.seen["went on"] += 1
        else:
            tally.seen["refused"] += 1
            wrong += check_refusal(ended.code, ended.said)
            if " is there already; " not in ended.said:
                wrong.append(f"again: {ended.said[:200]!r}")
            elif case.command in ("train", "report"):  # the files of a report are written one by one
                ended = place.run(case.resumes, name="resume")
                wrong += [f"{case.resumes[-1]}: {ended.said[:200]!r}"] if ended.code else []
        after = take_stock(place.home)
        wrong += case.examine(place.home)
        if case.command == "train":
            names = (f"{case.targets[0]}/{name}.safetensors" for name in ("model", "state"))
            wrong += [
                f"{name} is not the undisturbed run's" for name in names if after.get(name) != reference.stock[name]
            ]
        # What a refusal leaves lying about is cleared by the next command that writes there.
        if ended.code == 0:
            scratch = take_stock(place.scratch)
            wrong += [f"{name} is left over" for name in sorted({*after, *scratch} - reference.names - reference.kept)]
        wrong += [f"{name} is missing" for name in sorted(reference.names - set(after))]
        return wrong + check_alone(str(place.root))

    def _must(self, place: Place, arguments: tuple[str, ...]) -> Ended:
        ended = place.run(arguments)
        if ended.code:
            line = shlex.join(("msd-edge", *arguments))
            raise MsdEdgeError(f"undisturbed, `{line}` failed: {ended.said.strip()[-300:]}")
        return ended

    @contextlib.contextmanager
    def _place(self, start: Path | None, parent: Path | None = None) -> Iterator[Place]:
        self.tries += 1
        root = (parent or self.root) / f"try{self.tries}"
        place = Place(root, self.server, self.root)
        try:
            if start is not None:
                place.fill(start)
            yield place
        finally:
            shutil.rmtree(root, ignore_errors=True)
            for log in self.root.glob(f"{root.name}-*"):
                log.unlink()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[Path | None]:
        """Give a small disk; None where only root may make one: a limit on the size of files does instead."""
        disk = self.root / "disk"
        disk.mkdir(exist_ok=True)
        command = ("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(disk))
        try:
            made = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            made = False
        try:
            yield disk if made else None
        finally:
            if made:
                subprocess.run(("umount", str(disk)), check=True)


def _is_temporary(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def _is_new(case: Case, place: Place) -> bool:
    from msd_edge.training.run import RunFolder

    return RunFolder(place.home / case.targets[0]).read_info().config.seed == 1
