"""The Typer app: one thin module per verb. Heavy libraries are imported by the verbs, when they run."""

import os
import sys
import time
import traceback

import typer

from msd_edge.cli import bench, calibrate, common, deploy, devices, doctor, eval, export, plan, predict, report, train
from msd_edge.cli.helping import WIDEST, make_plain
from msd_edge.cli.usage import UsageProblem, explain_usage
from msd_edge.errors import ConfigError, MsdEdgeError
from msd_edge.training.distributed import ALONE, read_place

# ONNX Runtime from 1.29 on sends telemetry unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_INTERRUPTED = 130
_GRACE = 1.5  # seconds

app = typer.Typer(
    name="msd-edge",
    help="Early-exit image classifiers from training to the phone.\n\n"
    "train → export → calibrate → bench → report; each step takes the newest result of the one before.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
)


def _show_version(value: bool) -> None:
    if value:
        from msd_edge import __version__

        common.say(f"msd-edge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Early-exit image classifiers from training to the phone."""


for _verb in (train, eval, export, plan, calibrate, predict, bench, report, devices, deploy, doctor):
    _verb.register(app)
make_plain(app)


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        0 done, 1 a gate or the work failed, 2 wrong usage or input, 3 a device problem, 130 interrupted.
    """
    common.state.verbose, common.state.world = False, ALONE
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a pipe in the C locale must not fail on × or →
            reconfigure(errors="replace")
    try:
        _take_place(arguments)
        # Help is shown here where no words are given: releases of Typer and click differ in what they then return.
        code = app(arguments or ["--help"], prog_name="msd-edge", standalone_mode=False)
        if not arguments:
            return 2
        if code == _INTERRUPTED:  # Typer's own answer to Ctrl-C
            return _fail("interrupted.", _INTERRUPTED)
        return code if isinstance(code, int) else 0
    except UsageProblem as wrong:
        return _fail(explain_usage(wrong, arguments), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted.", _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except MsdEdgeError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", 1)
    except Exception as error:  # noqa: BLE001  the last resort: one sentence, the traceback only when asked for
        if _is_interrupt(error):
            return _fail("interrupted.", _INTERRUPTED)
        return _fail(f"unexpected {type(error).__name__}: {error} (--verbose shows where)", 1)


def _take_place(arguments: list[str]) -> None:
    """Leave printing to one process of the job, and errors to one of each host.

    Raises:
        ConfigError: the verb is work for one process.
    """
    common.state.quiet = common.state.mute = False
    place = read_place()
    if place.size == 1:
        return
    common.state.quiet, common.state.mute = place.rank > 0, place.local > 0
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb not in ("", "train", "eval"):
        raise ConfigError(f"`msd-edge {verb}` is work for one process; start it without torchrun.")


def _is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error: Python wraps what is raised while a class is being made."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _fail(message: str, code: int) -> int:
    if common.state.mute:
        time.sleep(_GRACE)  # torchrun ends the one that prints as soon as another is gone
        return code
    if common.state.verbose and code != _INTERRUPTED:  # a stop that was asked for has no place to show
        traceback.print_exc()
    common.say_error(message)
    return code
