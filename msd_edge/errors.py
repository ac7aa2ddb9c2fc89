"""Every error that msd-edge raises on purpose.

    MsdEdgeError
      ConfigError · DataError · ModelError · CheckpointError
      ExportError ─ UnsupportedTarget · ParityError · AccuracyDropError
      BundleError
      RuntimeUnavailable
      DeviceError ─ NoDevice · AmbiguousDevice · AdbError · DeviceRunError
      Interrupted · PeerLost

A message is one sentence a person can act on: what is wrong, where (path, exit, segment), what to do.
``exit_code`` is what the command line returns: 1 work or a gate failed, 2 wrong usage or input, 3 a device problem,
130 interrupted.
"""


class MsdEdgeError(Exception):
    """The root: catching it catches everything raised here on purpose."""

    exit_code = 1


class ConfigError(MsdEdgeError):
    """An option, a configuration file or a combination of options is wrong."""

    exit_code = 2


class DataError(MsdEdgeError):
    """Images or labels are missing, unreadable, contradictory or have changed since training."""

    exit_code = 2


class ModelError(MsdEdgeError):
    """A network cannot be built as described."""

    exit_code = 2


class CheckpointError(MsdEdgeError):
    """A run folder is missing, damaged, in use, or does not fit what was asked."""

    exit_code = 2


class ExportError(MsdEdgeError):
    """Conversion failed."""


class UnsupportedTarget(ExportError):
    """This target, precision or platform is not in the capability table."""

    exit_code = 2


class ParityError(ExportError):
    """An exported file does not compute what the network computes."""


class AccuracyDropError(ExportError):
    """An exported exit lost more accuracy than allowed."""


class BundleError(MsdEdgeError):
    """A bundle is missing, damaged, contradictory or of a version this release does not read."""

    exit_code = 2


class RuntimeUnavailable(MsdEdgeError):
    """The runtime that a file needs is not installed or cannot load it."""


class DeviceError(MsdEdgeError):
    """Something about a device."""

    exit_code = 3


class NoDevice(DeviceError):
    """No device answers to that name."""


class AmbiguousDevice(DeviceError):
    """More than one device answers to that name."""


class AdbError(DeviceError):
    """The Android debug bridge failed."""


class DeviceRunError(DeviceError):
    """The device was reached, and the run on it failed."""


class Interrupted(MsdEdgeError):
    """Long work was stopped with Ctrl-C and can be gone on with."""

    exit_code = 130


class PeerLost(MsdEdgeError):
    """Another process of the same job has died, has stopped, or cannot be reached.

    ``explained``: it has told why.
    """

    def __init__(self, message: str, *, explained: bool = False) -> None:
        super().__init__(message)
        self.explained = explained
