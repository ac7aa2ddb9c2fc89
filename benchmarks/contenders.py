"""What takes turns: the cascade at a setting of its rule, stand-alone exits, single segments."""

import time
from collections.abc import Sequence

import numpy as np

from msd_edge.benchmarks.turns import Images
from msd_edge.bundle.manifest import ExitFile
from msd_edge.exits.rules import ExitRule
from msd_edge.runtime.cascade import CascadeRunner
from msd_edge.runtime.preprocess import to_tensor
from msd_edge.runtime.session import Array, Session, dequantize

Times = dict[str, list[float]]


class CascadeTurns:
    """The cascade on real images, really stopping where its rule says.

    Attributes:
        times: lists of milliseconds by name: ``NAME/preprocess``, ``/inference``, ``/decision``, ``/total``.
        answers: for each image the first time it went through: exit (1-based), class, its probability.
    """

    def __init__(self, name: str, runner: CascadeRunner, rule: ExitRule, times: Times, *, every_image: bool) -> None:
        self.name = name
        self.every_image = every_image
        self.answers: dict[int, tuple[int, int, float]] = {}
        self._runner = runner
        self._rule = rule
        self._preprocess, self._inference, self._decision, self._total = (
            times.setdefault(f"{name}/{part}", []) for part in ("preprocess", "inference", "decision", "total")
        )

    def warm(self, image: Images) -> None:
        """Set the runner to this contender's rule (all share its loaded files) and run once, keep nothing."""
        self._runner.rule = self._rule
        self._runner.predict(image)

    def run(self, index: int, image: Images) -> float:
        """Run image ``index``, keep its times, return the whole time in milliseconds."""
        start = time.perf_counter_ns()
        answer = self._runner.predict(image)
        total = (time.perf_counter_ns() - start) / 1e6
        self._preprocess.append(answer.preprocess_ms)
        self._inference.append(sum(answer.segment_ms))
        self._decision.append(answer.decision_ms)
        self._total.append(total)
        if index not in self.answers:
            self.answers[index] = (answer.exit, answer.index, float(answer.probability))
        return total


class AloneTurns:
    """A stand-alone exit file, with the pre-processing and the decision that a cascade has as well.

    Times are ``NAME`` (inference) and ``NAME-total``.
    """

    every_image = False

    def __init__(self, name: str, session: Session, entry: ExitFile, times: Times) -> None:
        self.name = name
        self._session = session
        self._entry = entry
        self._buffer: Array = np.zeros(entry.image.shape, entry.image.dtype)
        self._inference = times.setdefault(name, [])
        self._total = times.setdefault(f"{name}-total", [])

    def warm(self, image: Images) -> None:
        """Run once, keep nothing."""
        self._session.run({self._entry.image.name: to_tensor(image, self._entry.image, self._buffer)})

    def run(self, index: int, image: Images) -> float:
        """Run image ``index``, keep its times, return the whole time in milliseconds."""
        start = time.perf_counter_ns()
        tensor = to_tensor(image, self._entry.image, self._buffer)
        ready = time.perf_counter_ns()
        outputs = self._session.run({self._entry.image.name: tensor})
        done = time.perf_counter_ns()
        spec = self._entry.logits
        int(dequantize(outputs[spec.name], spec.scale, spec.zero_point).argmax())
        total = (time.perf_counter_ns() - start) / 1e6
        self._inference.append((done - ready) / 1e6)
        self._total.append(total)
        return total


class SegmentTurns:
    """One segment again and again, on inputs that real images gave."""

    every_image = False

    def __init__(self, name: str, session: Session, inputs: Sequence[dict[str, Array]], times: Times) -> None:
        self.name = name
        self._session = session
        self._inputs = inputs
        self._times = times.setdefault(name, [])

    def warm(self, image: Images) -> None:
        """Run once, keep nothing."""
        self._session.run(self._inputs[0])

    def run(self, index: int, image: Images) -> float:
        """Run once, keep the time and return it in milliseconds."""
        inputs = self._inputs[index % len(self._inputs)]
        start = time.perf_counter_ns()
        self._session.run(inputs)
        took = (time.perf_counter_ns() - start) / 1e6
        self._times.append(took)
        return took
