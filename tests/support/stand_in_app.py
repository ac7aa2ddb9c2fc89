"""Plays the demo app's BenchInstrumentation by ``docs/device-protocol.md``, with this project's own runner.

``python stand_in_app.py FILES CONFIG NONCE`` prints what ``am instrument -w -r`` prints. What it writes is marked as
played by a stand-in. STAND_IN_FAULT in the environment makes it fail in a chosen way.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from msd_edge.benchmarks.contenders import AloneTurns, CascadeTurns, SegmentTurns, Times
from msd_edge.benchmarks.devices.protocol import Configuration
from msd_edge.benchmarks.loading import load_chain, load_exit
from msd_edge.benchmarks.measure import force_exit
from msd_edge.benchmarks.proof import judge
from msd_edge.benchmarks.turns import take_turns
from msd_edge.bundle.golden import read_golden
from msd_edge.bundle.reader import read_bundle
from msd_edge.errors import MsdEdgeError
from msd_edge.exits.rules import ExitRule
from msd_edge.runtime.cascade import rule_of
from msd_edge.runtime.golden_check import compare_logits

NAME = "a stand-in in Python"


class Cancelled(Exception):
    """The host has asked to stop."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def step(done: int, total: int, text: str) -> None:
    say(f"INSTRUMENTATION_STATUS: step={json.dumps({'done': done, 'total': total, 'text': text})}")
    say("INSTRUMENTATION_STATUS_CODE: 1")


def end(code: int, **values: str) -> int:
    for name, value in values.items():
        say(f"INSTRUMENTATION_RESULT: {name}={value}")
    say(f"INSTRUMENTATION_CODE: {code}")
    return 0


def play(files: Path, config_path: str, nonce: str, fault: str) -> int:
    config = Configuration.model_validate_json((files / config_path).read_bytes())
    if config.nonce != nonce:
        return end(0, nonce=nonce, error="ConfigError", message="the configuration is of another measurement.")
    result = files / config.result
    folder = result.parent

    def look() -> None:
        if (folder / "cancel").exists():
            raise Cancelled

    if fault == "crash":
        return end(0, shortMsg="Process crashed.", longMsg="java.lang.OutOfMemoryError")
    if fault == "die":
        return 0
    if fault == "wrong-nonce":
        return end(-1, nonce="0" * 32, sha256="0" * 64, end="msd-edge-complete")
    if fault == "no-end":
        return end(-1, nonce=nonce, sha256="0" * 64)
    try:
        value = measure(files, config, look, fault)
    except Cancelled:
        return end(0, nonce=nonce, error="Interrupted", message="stopped by the host.")
    except MsdEdgeError as problem:
        return end(0, nonce=nonce, error=type(problem).__name__, message=str(problem))
    if fault == "stale":
        value["nonce"] = "0" * 32
    data = json.dumps(value).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    result.write_bytes(data[: len(data) // 2] if fault == "truncated" else data)
    return end(-1, nonce=nonce, sha256=sha256, end="msd-edge-complete")


def measure(files: Path, config: Configuration, look, fault: str) -> dict[str, object]:
    step(0, 1, "loading")
    bundle = read_bundle(files / config.bundle)
    variant = bundle.variant(config.variant)
    calibration = variant.calibration
    assert calibration is not None
    assert bundle.manifest_sha256 == config.manifest_sha256
    temperatures = tuple(part.temperature for part in calibration.exits)
    count = len(variant.segments)
    golden = read_golden(bundle, variant.name)
    shape = (-1, *golden.images.shape[1:])
    pieces = []
    for file in config.images:
        data = (files / file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256
        pieces.append(np.frombuffer(data, np.uint8).reshape(shape))
        assert len(pieces[-1]) == file.count
    images = np.concatenate(pieces)
    chain = load_chain(bundle, variant, force_exit(count, temperatures), None, config.threads, golden.images[:8])
    runner = chain.runner
    step(0, 1, "proving")
    raw = np.stack([runner.raw_logits(image) for image in golden.images])
    if fault == "parity":
        raw = raw + np.array(20, raw.dtype)
    folder = (files / config.result).parent
    (folder / "golden.bin").write_bytes(raw.tobytes())
    found = compare_logits(raw, golden.outputs)
    if fault != "parity-hidden":
        judge(bundle.path, variant, runner.runtime, found)
    if fault == "parity-hidden":
        raw = raw[:, :, ::-1]
        (folder / "golden.bin").write_bytes(np.ascontiguousarray(raw).tobytes())
    alone = [load_exit(bundle, variant, entry, None, config.threads, golden.images[0]) for entry in variant.exits]
    times: Times = {}
    named = {point.name: point for point in calibration.points}
    points = {
        name: CascadeTurns(f"point-{name}", runner, rule_of(variant, named[name]), times, every_image=True)
        for name in config.points
    }
    forced = [
        CascadeTurns(f"exit-{k}", runner, force_exit(k, temperatures), times, every_image=False)
        for k in range(1, count + 1)
    ]
    files_alone = [
        AloneTurns(f"exit-{entry.index}/alone", loaded.session, entry, times)
        for entry, loaded in zip(variant.exits, alone, strict=True)
    ]
    segments = [
        SegmentTurns(f"segment-{k}/warm", each.session, inputs, times)
        for k, (each, inputs) in enumerate(zip(runner.chain.steps, chain.inputs, strict=True), 1)
    ]
    contenders = (*points.values(), *forced, *files_alone, *segments)
    for contender in contenders:
        for image in images[: config.warmup]:
            contender.warm(image)
    logits = np.zeros((len(images), count, len(bundle.manifest.classes)), raw.dtype)

    def fill(start: int, piece) -> None:
        look()
        for place, image in enumerate(piece, start):
            logits[place] = runner.raw_logits(image)

    def tell(done: int, total: int) -> None:
        look()
        step(done, total, "measuring")

    turns = take_turns(contenders, images, block=config.block, seconds=config.seconds, on_block=fill, on_step=tell)
    (folder / "logits.bin").write_bytes(logits.tobytes())
    paced = [
        pace(points, forced, name, config, images, look) for name in (config.paced.contenders if config.paced else ())
    ]
    golden_sha256 = hashlib.sha256((folder / "golden.bin").read_bytes()).hexdigest()
    rule: ExitRule = runner.rule
    assert rule.exits == count
    return {
        "protocol": 1,
        "nonce": config.nonce,
        "manifest_sha256": config.manifest_sha256,
        "variant": variant.name,
        "played_by": NAME,
        "app": {"package": "org.msdedge.demo", "version_name": "0.0-stand-in", "version_code": 1, "more": "unknown"},
        "runtime": {"name": runner.runtime, "version": runner.runtime_version, "delegate": "cpu", "xnnpack": True},
        "threads": config.threads,
        "runtime_threads": chain.threads,
        "load": chain.load,
        "peak_memory_mib": chain.memory,
        "segments": [{"init": i, "first": f} for i, f in zip(runner.chain.load_ms, chain.first, strict=True)],
        "alone": [{"init": each.init, "first": each.first} for each in alone],
        "golden": {
            "images": found.images,
            "max_difference": found.max_difference,
            "top1_agreement": found.top1_agreement,
            "bit_equal": found.bit_equal,
            "sha256": golden_sha256,
        },
        "logits": {
            "images": len(images),
            "dtype": variant.segments[0].logits.dtype,
            "sha256": hashlib.sha256(logits.tobytes()).hexdigest(),
        },
        "answers": {name: answers(contender) for name, contender in points.items()},
        "times": times if fault != "few-times" else {name: values[:1] for name, values in times.items()},
        "turns": [[t.contender, t.block, t.images, t.milliseconds, t.wall, t.processor] for t in turns.taken],
        "paced": paced,
        "sustain": sustain(points, config, images, look),
        "complete": True,
    }


def answers(contender: CascadeTurns) -> dict[str, list[float]]:
    ordered = [contender.answers[index] for index in sorted(contender.answers)]
    return {
        "exits": [each[0] for each in ordered],
        "predicted": [each[1] for each in ordered],
        "probabilities": [each[2] for each in ordered],
    }


def pace(points, forced, name, config: Configuration, images, look) -> dict[str, object]:
    assert config.paced is not None
    contender = next(each for each in (*points.values(), *forced) if each.name == name)
    period, took, missed = 1 / config.paced.fps, [], 0
    start = time.perf_counter()
    due = 0
    # Ten frames stand for the seconds: a stand-in has no business to keep a test waiting.
    while due < 10:
        look()
        time.sleep(max(0.0, start + due * period - time.perf_counter()))
        contender.warm(images[0])
        took.append(contender.run(due % len(images), images[due % len(images)]))
        now = int((time.perf_counter() - start) / period)
        missed += max(0, now - due - 1) if now > due else 0
        due = max(due + 1, now)
        step(due, 10, "paced")
    return {"contender": name, "fps": config.paced.fps, "times": took, "missed": missed}


def sustain(points, config: Configuration, images, look) -> dict[str, object] | None:
    if config.sustain is None:
        return None
    contender = next(each for each in points.values() if each.name == config.sustain.contender)
    contender.warm(images[0])
    minutes, end_at = [], time.perf_counter() + config.sustain.minutes * 60
    took: list[float] = []
    while time.perf_counter() < end_at:
        look()
        took.append(contender.run(0, images[len(took) % len(images)]))
        if len(took) % 200 == 0:
            step(len(took), 0, "sustained")
    minutes.append({"times": took, "thermal": 2})
    return {"contender": contender.name, "minutes": minutes}


if __name__ == "__main__":
    sys.exit(play(Path(sys.argv[1]), sys.argv[2], sys.argv[3], os.environ.get("STAND_IN_FAULT", "")))
