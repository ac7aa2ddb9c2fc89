"""What devices say: adb, the demo app, boards, workers, benchmark_model."""

from collections.abc import Callable
from pathlib import Path

from fuzz.oracle import refuses
from fuzz.targets import Run, Target


def answers(folder: Path) -> Run:
    """Everything that is read line by line; the first byte says as what."""
    from pydantic import ValidationError

    from msd_edge.benchmarks.devices import instrument, phone
    from msd_edge.benchmarks.devices.board import Board
    from msd_edge.benchmarks.devices.discover import parse_devices, resolve
    from msd_edge.benchmarks.devices.processes import parse_step
    from msd_edge.benchmarks.devices.protocol import Progress
    from msd_edge.benchmarks.devices.shell_model import parse_cores
    from msd_edge.benchmarks.environment import parse_cpuinfo

    del folder

    def progress(data: bytes) -> None:
        reader = Progress()
        for line in data.split(b"\n"):
            reader.feed(line.decode(errors="replace").rstrip("\r\n"))
        if reader.code is not None or reader.failure:
            refuses(lambda: instrument._check_end("serial", "n", reader))

    def board(data: bytes) -> None:
        try:
            Board.model_validate_json(data)
        except ValidationError:
            return

    def listed(data: bytes) -> None:
        found = parse_devices(data.decode(errors="replace"))
        refuses(lambda: resolve("pixel", found, ""))
        refuses(lambda: resolve("android", found, ""))

    def condition(data: bytes) -> None:
        class Adb:
            def shell(self, *_words: object, **_more: object) -> object:
                from msd_edge.benchmarks.devices.adb import ShellAnswer

                return ShellAnswer(0, data.decode(errors="replace"), "")

            def must(self, *_words: object, **_more: object) -> str:
                return data.decode(errors="replace")

            serial = "serial"

        adb = Adb()
        refuses(lambda: phone.describe_condition(phone.read_condition(adb)))  # type: ignore[arg-type]
        refuses(lambda: phone.read_free(adb, "/data"))  # type: ignore[arg-type]
        parse_cores(data.decode(errors="replace"))
        parse_cpuinfo(data.decode(errors="replace"))

    readers: tuple[Callable[[bytes], object], ...] = (progress, board, listed, condition, parse_step)

    def run(data: bytes) -> None:
        if data:
            readers[data[0] % len(readers)](data[1:])

    return run


def phone_result(folder: Path) -> Run:
    """The app's result.json, down to the figures that are made of it."""
    from pydantic import ValidationError
    from support.bench_data import make_dataset
    from support.phone_answer import make_answer

    from msd_edge.benchmarks.devices.phone_figures import Brought, figure_report
    from msd_edge.benchmarks.devices.protocol import PhoneResult

    given = make_answer(folder, make_dataset(8))

    def run(data: bytes) -> None:
        try:
            result = PhoneResult.model_validate_json(data)
        except ValidationError:
            return
        brought = Brought(result, given.golden, given.logits)
        refuses(lambda: figure_report(given.bundle, given.variant, given.calibration, given.job, brought))

    return run


def benchmark_model(folder: Path) -> Run:
    """What benchmark_model prints."""
    from msd_edge.benchmarks.devices.shell_model import parse_timings

    del folder

    def run(data: bytes) -> None:
        refuses(lambda: parse_timings(data.decode(errors="replace"), "tflite-int8", "segment-1", "0" * 64, 1))

    return run


TARGETS = (
    Target("device-answers", answers, 22),
    Target("phone-result", phone_result, 2, native=True),
    Target("benchmark-model", benchmark_model, 22),
)
