"""The sentences of a report, computed from the results: headline, int8 against float, what deserves a warning."""

from dataclasses import dataclass

from msd_edge.benchmarks.notes import SEPARATOR
from msd_edge.benchmarks.report import text
from msd_edge.benchmarks.report.intervals import differs
from msd_edge.benchmarks.report.measures import Point, Run, Series, mean_of, ratio, twin
from msd_edge.benchmarks.results import ExitBench
from msd_edge.bundle.manifest import FULL_POINT

# Results that do not say on how many images accuracy was expected are taken at their word.
_MANY = 1_000_000
# Below this share a difference of speed is not worth a word.
_SAME_SPEED = 0.02


@dataclass(frozen=True)
class Choice:
    """The operating point that the headline speaks of."""

    series: Series
    point: Point


@dataclass(frozen=True)
class Comparison:
    """One exit in a precision against its float32 twin. ``speed``: above 1 the precision is faster."""

    series: Series
    exit: ExitBench
    twin: ExitBench
    alone: bool
    speed: float | None
    median: float
    twin_median: float

    @property
    def accuracy_difference(self) -> float:
        """Accuracy minus the float32 twin's, as a share."""
        return self.exit.accuracy - self.twin.accuracy


def choose(run: Run) -> Choice | None:
    """Return the fastest ``lossless`` point, without one the fastest of the most accurate; None without points."""
    every = [Choice(series, point) for series in run.series for point in series.points]
    if not every:
        return None
    named = [choice for choice in every if choice.point.bench.point == "lossless"]
    if not named:
        best = max(choice.point.bench.accuracy for choice in every)
        named = [choice for choice in every if choice.point.bench.accuracy == best]
    return min(named, key=lambda choice: choice.point.bench.total.mean)


def headline(run: Run) -> str:
    """Return the sentence that a reader takes home."""
    choice = choose(run)
    if choice is None:
        last = max((series.last for series in run.series), key=lambda exit_: exit_.accuracy)
        return (
            f"No operating point was measured; the best last exit has {text.percent(last.accuracy)} % "
            f"at {text.ms(mean_of(last))} ms. `msd-edge calibrate` makes operating points."
        )
    point, last = choice.point.bench, choice.series.last
    start = (
        f"{choice.series.label} at `{point.point}`: {text.percent(point.accuracy)} % of {text.count(point.images)} "
        f"test images right at {text.ms(point.total.mean)} ms each (median {text.ms(point.total.median)})"
    )
    alone = f"({text.ms(mean_of(last))} ms, {text.percent(last.accuracy)} %)"
    return f"{start}, {_speed_words(choice.point.own_speed)} its own last exit alone {alone}."


def second_line(run: Run) -> str:
    """Return how the headline's point compares with float32's last exit; empty where that was not measured."""
    choice = choose(run)
    if choice is None or choice.series.bench.precision == "float32":
        return ""
    other = twin(choice.series, run.series)
    if other is None:
        return ""
    last = other.last
    return (
        f"{_speed_words(choice.point.float_speed).capitalize()} {other.label}'s last exit alone "
        f"({text.ms(mean_of(last))} ms, {text.percent(last.accuracy)} %)."
    )


def _speed_words(speed: float | None) -> str:
    if speed is None:
        return "not compared in speed with"
    if abs(speed - 1) < _SAME_SPEED:
        return "as fast as"
    return f"{text.times(speed)} × faster than" if speed > 1 else f"{text.times(1 / speed)} × slower than"


def compare_precisions(run: Run) -> list[Comparison]:
    """Return every exit of every variant that has a float32 twin, beside that twin."""
    found = []
    for series in run.series:
        other = twin(series, run.series)
        if series.bench.precision == "float32" or other is None or len(other.bench.exits) != len(series.bench.exits):
            continue
        for own, theirs in zip(series.bench.exits, other.bench.exits, strict=True):
            alone = own.alone is not None and theirs.alone is not None
            mine, its = (own.alone, theirs.alone) if alone else (own.chain, theirs.chain)
            if mine is None or its is None:
                continue
            speed = ratio(its.median, mine.median)
            found.append(Comparison(series, own, theirs, alone, speed, mine.median, its.median))
    return found


def precision_sentences(run: Run) -> list[str]:
    """Return a sentence per variant on its speed and accuracy against float32; slower is called slower."""
    sentences = []
    compared = compare_precisions(run)
    for series in run.series:
        rows = [row for row in compared if row.series is series and row.speed is not None]
        if not rows:
            continue
        speeds = [row.speed for row in rows if row.speed is not None]
        slow = [row for row in rows if row.speed is not None and row.speed < 1 - _SAME_SPEED]
        differences = [row.accuracy_difference for row in rows]
        other = f"{series.bench.target}-float32"
        span = _span(text.times(min(speeds)), text.times(max(speeds)))
        if not slow:
            said = f"{series.label} runs at {span} × the speed of {other}"
        elif len(slow) == len(rows):
            said = f"{series.label} is slower than {other} at every exit: {span} × its speed"
        else:
            where = text.listed([str(row.exit.index) for row in slow])
            said = f"{series.label} is slower than {other} at exit {where}: {span} × its speed over all exits"
        points = _span(text.points(min(differences)), text.points(max(differences)))
        sentences.append(f"{said}; accuracy differs by {points} points.")
    return sentences


def warnings(run: Run) -> list[str]:
    """Return what a reader must know before believing the figures, less what the notes in the results say already."""
    notes = run.source.results.notes
    found = []
    for sentence in precision_sentences(run):
        name, slower, _ = sentence.partition(" is slower than ")
        if slower and not _told(notes, "slower than", name):
            found.append(sentence)
    for series in run.series:
        golden = series.bench.golden
        if golden.top1_agreement < 1:
            found.append(
                f"{series.label}: only {text.percent(golden.top1_agreement)} % of {golden.images} golden images get "
                "the class they got at export."
            )
        found += _unmet_expectations(series)
        for point in series.points:
            found += _point_warnings(series, point, notes)
    return found


def _unmet_expectations(series: Series) -> list[str]:
    unmet = []
    for point in series.points:
        bench = point.bench
        expected_on = bench.expected_images or _MANY
        if differs(bench.expected_accuracy, expected_on, bench.correct, bench.images):
            expected, measured = text.percent(bench.expected_accuracy), text.percent(bench.accuracy)
            unmet.append(f"{bench.point} ({expected} expected, {measured} ± {text.percent(point.half_width)} measured)")
    if not unmet:
        return []
    return [
        f"{series.label}: accuracy differs from what calibration expected by more than chance at "
        f"{text.listed(unmet)}, in %."
    ]


def _point_warnings(series: Series, point: Point, notes: tuple[str, ...]) -> list[str]:
    found = []
    bench = point.bench
    name, at = series.bench.name, f"at {bench.point} "
    if bench.simulation_agreement < 1 and not _told(notes, "another exit", name, at):
        found.append(
            f"{series.label}: {at}{text.percent(1 - bench.simulation_agreement, 2)} % of the images left at another "
            "exit than their full outputs say."
        )
    told = _told(notes, "does not pay", name, f" {bench.point} (")
    # No cascade (one exit, or nobody leaves early by definition), or told of already.
    alone = len(series.bench.exits) == 1 or bench.point == FULL_POINT or point.same_as
    if point.own_speed is not None and point.own_speed < 1 and not told and not alone:
        found.append(
            f"{series.label}: {at}the cascade is slower than the last exit alone "
            f"({text.times(point.own_speed)} × its speed)."
        )
    return found


def _told(notes: tuple[str, ...], kind: str, *words: str) -> bool:
    """Return whether a note of a kind speaks of something: all words stand in one of its parts, one a variant."""
    parts = [part for note in notes if kind in note for part in note.split(SEPARATOR)]
    return any(all(word in part for word in words) for part in parts)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
