"""A Linux board over OpenSSH: the same worker as on this machine, run by the light install there.

One connection carries everything (OpenSSH's ControlMaster). Words are quoted for the shell there, uploads are compared
by SHA-256, and every answer ends with a word made up for it: an exit code alone is no proof.
"""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from msd_edge import __version__
from msd_edge.benchmarks.devices.board import Board
from msd_edge.benchmarks.devices.cpu import CpuDevice, thread_variables
from msd_edge.benchmarks.devices.processes import hold_interrupts
from msd_edge.benchmarks.devices.transfer import Item, bundle_items, item_of
from msd_edge.benchmarks.job import Job, Report, Step
from msd_edge.benchmarks.results import Circumstances, Device
from msd_edge.bundle.manifest import Variant
from msd_edge.bundle.reader import explain, read_bundle
from msd_edge.errors import BundleError, ConfigError, DeviceError, DeviceRunError, NoDevice, RuntimeUnavailable
from msd_edge.files import sha256_bytes
from msd_edge.runtime.open import RUNTIMES

_WORKER = "msd_edge.benchmarks.worker"
SHORT = 60.0
LONG = 1800.0

_INSTALL = "make a virtual environment ~/.msd-edge there and `~/.msd-edge/bin/pip install` this release of msd-edge"
# Where the light install is looked for, in this order; MSD_EDGE_REMOTE_PYTHON names another.
_PYTHONS = ("$HOME/.msd-edge/bin/python", "$HOME/msd-edge/.venv/bin/python", "python3")
_BREAKS = ("closed", "Broken pipe", "reset by", "timed out", "lost connection", "not responding")


class SshDevice:
    """A board.

    Attributes:
        host: ``user@host``, or a name of OpenSSH's configuration.
        silence: seconds without a sign of life after which a worker is stopped.
    """

    def __init__(self, host: str, *, options: Sequence[str] = (), silence: float = 600.0) -> None:
        if not host or host.startswith("-") or any(sign.isspace() for sign in host):
            raise ConfigError(f"--device ssh:{host}: name a host like ssh:pi@board.local.")
        program = shutil.which("ssh")
        if program is None:
            raise DeviceError("ssh is not installed: install OpenSSH's client (Debian and Ubuntu: openssh-client).")
        self.host = host
        self.name = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-.") or "board"
        self.address = f"ssh:{host}"
        self.silence = silence
        self._scratch = tempfile.TemporaryDirectory(prefix="msd-edge-ssh-")
        settings = (
            "BatchMode=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ControlMaster=auto",
            f"ControlPath={self._scratch.name}/c",
            "ControlPersist=60",
        )
        self._ssh = (program, *(word for setting in settings for word in ("-o", setting)), *options)
        self._python = ""
        self._folder = ""
        self._board: Board | None = None

    def describe(self) -> Device:
        """Return what the board is.

        Raises:
            DeviceError: it does not answer, or has no install that fits.
        """
        return self._ask().device.model_copy(update={"kind": "ssh", "name": self.name})

    def check(self, threads: int) -> tuple[str, ...]:
        """Return nothing to say before.

        Raises:
            ConfigError: fewer cores are allowed there than threads asked for.
            DeviceError: it does not answer, or has no install that fits.
        """
        cores = self._ask().device.cores
        if threads > cores:
            raise ConfigError(f"--threads {threads}: {self.host} allows {cores}.")
        return ()

    def select(
        self, variants: Sequence[Variant], runtime: str | None, *, named: bool
    ) -> tuple[tuple[Variant, ...], tuple[str, ...]]:
        """Return the variants that run there, and notes on those that do not.

        Raises:
            ConfigError: a variant does not run on that runtime.
            RuntimeUnavailable: none runs there, or one that was named does not.
            DeviceError: the board does not answer.
        """
        there = self._ask().runtimes
        for variant in variants:
            if runtime is not None and runtime not in RUNTIMES[variant.target]:
                raise ConfigError(f"--runtime {runtime}: it does not run {variant.target} files.")
        wanted = {target: names if runtime is None else (runtime,) for target, names in RUNTIMES.items()}
        fitting = tuple(v for v in variants if any(name in there.get(v.target, ()) for name in wanted[v.target]))
        missing = ", ".join(variant.name for variant in variants if variant not in fitting)
        if not fitting or (named and missing):
            raise RuntimeUnavailable(f"{self.host}: no runtime for {missing} is installed there; install one with pip.")
        return fitting, (f"{self.host} has no runtime for {missing}: not measured.",) if missing else ()

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages there."""
        return dict(self._ask().versions)

    def circumstances(self) -> Circumstances | None:
        """Return None: boards have no battery to tell of."""
        return None

    def said(self) -> str:
        """Return nothing: a worker's noise is told when it fails."""
        return ""

    def close(self) -> None:
        """Remove what was brought there and end the connection."""
        with hold_interrupts():
            if self._folder:
                with contextlib.suppress(DeviceError):
                    self._shell(f"rm -rf {shlex.quote(self._folder)}", what="tidying up")
                self._folder = ""
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run((*self._ssh, "-O", "exit", self.host), capture_output=True, timeout=10, check=False)
            self._scratch.cleanup()

    def run(self, job: Job, on_step: Callable[[Step], None]) -> Report:
        """Measure one variant in a fresh process there; interrupted or failed, no process is left behind.

        Raises:
            MsdEdgeError: as the process said itself (``ParityError``, ``RuntimeUnavailable``, …).
            DeviceError: the board went away, the process died or fell silent, or its answer is not whole.
        """
        bundle = read_bundle(job.bundle)
        if bundle.manifest_sha256 != job.manifest_sha256:
            raise BundleError(f"{job.bundle}: the bundle has changed since the bench began; run it again.")
        self._ask()
        if not self._folder:
            self._folder = self._shell("mktemp -d /tmp/msd-edge-board-XXXXXXXX", what="making a folder").strip()
        on_step(Step(text="sending files"))
        folder = PurePosixPath(self._folder)
        files = {f"bundle/{path}": item for path, item in bundle_items(bundle, (bundle.variant(job.variant),)).items()}
        self._upload({**files, "images.npy": item_of(Path(job.images))})
        report = folder / f"{job.variant}.json"
        there = job.model_copy(
            update={
                "bundle": str(folder / "bundle"),
                "images": str(folder / "images.npy"),
                "report": str(report),
            }
        )
        # The shell becomes the worker: the number it wrote down is the worker's.
        pid = shlex.quote(str(folder / f"{job.variant}.pid"))
        words = (
            "env",
            *(f"{key}={value}" for key, value in thread_variables(job.threads).items()),
            "ORT_DISABLE_TELEMETRY=1",
        )
        start = f"echo $$ > {pid}; exec {shlex.join(words)} {self._python} -P -m {_WORKER}"
        device = CpuDevice(silence=self.silence, command=(*self._ssh, self.host, shlex.join(("sh", "-c", start))))
        try:
            device.follow(there, on_step)
        except BaseException as problem:
            with hold_interrupts(), contextlib.suppress(DeviceError):
                # Only a worker of ours: the number may be another process's by now.
                ours = f"p=$(cat {pid}) && tr '\\0' ' ' < /proc/$p/cmdline | grep -q {_WORKER}"
                self._shell(f"{ours} && kill -9 $p; true", what="stopping the worker")
            if isinstance(problem, DeviceRunError):
                raise self._explain(problem) from None
            raise
        return self._fetch(str(report), job.variant)

    def _ask(self) -> Board:
        if self._board is None:
            named = os.environ.get("MSD_EDGE_REMOTE_PYTHON")
            candidates = (shlex.quote(named),) if named else tuple(f'"{path}"' for path in _PYTHONS)
            # -P: no module of the current folder there may stand in the way.
            tries = "; ".join(
                f"if {path} -P -c 'import msd_edge' 2>/dev/null; then echo {path}; exit; fi" for path in candidates
            )
            found = self._shell(f"({tries})", what="looking for msd-edge there").strip()
            if not found:
                raise DeviceError(f"{self.host}: no Python with msd-edge answers there: {_INSTALL}.")
            self._python = shlex.quote(found)
            said = self._shell(f"{self._python} -P -m msd_edge.benchmarks.devices.board", what="asking what it is")
            try:
                board = Board.model_validate_json(said.strip().splitlines()[-1])
            except (ValidationError, IndexError):
                raise DeviceError(
                    f"{self.host}: msd-edge there is another release than {__version__}: {_INSTALL}."
                ) from None
            if board.versions.get("msd-edge") != __version__:
                raise DeviceError(
                    f"{self.host}: msd-edge there is {board.versions.get('msd-edge')}, here {__version__}: {_INSTALL}."
                )
            self._board = board
        return self._board

    def _upload(self, files: Mapping[str, Item]) -> None:
        """Bring files into the folder there; what is there with the right SHA-256 is not sent again."""
        names = " ".join(shlex.quote(name) for name in files)
        inside = f"cd {shlex.quote(self._folder)} && "
        said = self._shell(f"{inside}sha256sum {names} 2>/dev/null; true", what="comparing files", timeout=LONG)
        there = {line[66:]: line[:64] for line in said.splitlines() if len(line) > 66}
        for name, item in files.items():
            if there.get(name) == item.sha256:
                continue
            target = shlex.quote(name)
            parent = shlex.quote(str(PurePosixPath(name).parent))
            line = f"{inside}mkdir -p {parent} && cat > {target} && sha256sum {target}"
            with item.source.open("rb") as file:
                answer = self._shell(
                    line, what=f"sending {PurePosixPath(name).name}", timeout=LONG, stdin=file.fileno()
                )
            if answer[:64] != item.sha256:
                raise DeviceRunError(f"{self.host}: {name} arrived as something else (SHA-256 differs); run it again.")

    def _fetch(self, report: str, variant: str) -> Report:
        path = shlex.quote(report)
        text = self._shell(f"sha256sum {path} && cat {path}", what="fetching the report", timeout=LONG)
        head, _, body = text.partition("\n")
        try:
            if head[:64] != sha256_bytes(body.encode()):
                raise DeviceRunError(
                    f"{self.host}: the report arrived cut off or changed (SHA-256 differs); run it again."
                )
            found = Report.model_validate_json(body)
        except ValidationError as problem:
            raise DeviceRunError(f"{self.host}: the report cannot be read: {explain(problem)}.") from None
        if found.variant.name != variant:
            raise DeviceRunError(f"{self.host}: the report is of {found.variant.name}, not of {variant}; run it again.")
        return found

    def _shell(self, line: str, *, what: str, timeout: float = SHORT, stdin: int = subprocess.DEVNULL) -> str:
        """Run a line of shell there and return its standard output.

        Raises:
            NoDevice: the board does not answer or refuses.
            DeviceError: the line failed, or the connection broke.
        """
        word = secrets.token_hex(8)
        # Through sh, whatever the user's own shell is there.
        wrapped = shlex.join(("sh", "-c", f"( {line}\n); code=$?; echo; echo {word} $code"))
        try:
            done = subprocess.run(
                (*self._ssh, self.host, wrapped), stdin=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeviceRunError(f"{self.host}: no answer for {timeout:g} s while {what}; run it again.") from None
        out, found, code = done.stdout.decode(errors="replace").rpartition(f"\n{word} ")
        noise = [text.strip() for text in done.stderr.decode(errors="replace").splitlines() if text.strip()]
        last = noise[-1][:300].rstrip(".") if noise else ""
        if not found:
            if done.returncode == 255 and self._board is None:
                raise NoDevice(
                    f"{self.host}: ssh cannot connect: {last or 'it does not say why'}; "
                    f"`ssh {shlex.quote(self.host)}` must work without a question (keys, known hosts)."
                )
            raise DeviceRunError(
                f"{self.host}: the connection broke while {what}{f' ({last})' if last else ''}; run it again."
            )
        if code.strip() != "0":
            advice = "; free some space there" if "No space left" in last else ""
            raise DeviceRunError(f"{self.host}: {what} failed: {last or f'exit code {code.strip()}'}{advice}.")
        return out

    def _explain(self, problem: DeviceRunError) -> DeviceRunError:
        text = str(problem)
        if any(sign in text for sign in _BREAKS) or "exit code 255" in text:
            # OpenSSH says 255 for both.
            return DeviceRunError(
                f"{self.host}: the connection broke while measuring, or the worker was killed there (out of memory?); "
                "run it again."
            )
        return DeviceRunError(f"{self.host}: {text}")
