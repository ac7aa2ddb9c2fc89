"""Laws for any network and any value: cut then chain equals the whole, written then read is the same.

The others stand with what they are about: asking for more never costs less (``test_exits_front``), permuted labels
change no exit (``test_exits_rules``).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.report_data import results as make_results

from msd_edge.benchmarks.job import Answers
from msd_edge.benchmarks.results import Condition, ShellBench
from msd_edge.benchmarks.results_io import Raw, read_raw, read_results, write_results
from msd_edge.bundle.manifest import Manifest
from msd_edge.bundle.reader import read_bundle
from msd_edge.bundle.writer import write_manifest
from msd_edge.data.config import DataConfig
from msd_edge.files import parse_json, write_json
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.segments import cut, keep_exits, standalone
from msd_edge.training.choices import METHODS
from msd_edge.training.config import AugmentConfig, ComputeConfig, OptimConfig, RunInfo, TrainConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.run import RunFolder

QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
# Any text that UTF-8 can hold, any number that JSON can.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
SHARE = st.floats(0, 1)
MS = st.floats(0, 1e9)
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
SHARES = st.lists(st.sampled_from([0.1, 0.25, 0.4, 0.6, 0.8]), min_size=1, max_size=3, unique=True).map(sorted)


@given(
    shares=SHARES, branch=st.sampled_from(["sampled", "separable", "pooled"]), seed=st.integers(0, 99), data=st.data()
)
@settings(max_examples=10, deadline=None)
def test_cut_then_chain_is_the_whole(shares: list[float], branch: Any, seed: int, data: st.DataObject) -> None:
    torch.manual_seed(seed)
    network = build_network(
        NetworkConfig(
            arch="resnet14",
            width=4,
            exits_at=",".join(map(str, shares)),
            branch=branch,
            classes=3,
            image_shape=(1, 12, 16),
            mean=(100.0,),
            std=(50.0,),
        )
    )
    images = torch.randint(0, 256, (4, 1, 12, 16)).float()
    network(images)
    network.eval()
    kept = data.draw(st.lists(st.integers(1, network.exits), min_size=1, unique=True).map(sorted))
    with torch.no_grad():
        whole = network(images)
        values: tuple[torch.Tensor, ...] = (images,)
        for k, segment in enumerate(cut(network)):
            outputs = segment(*values)
            assert torch.equal(outputs[0], whole[k])
            values = tuple(outputs[1:])
        for k, alone in enumerate(standalone(network)):
            assert torch.equal(alone(images), whole[k])
        for logits, k in zip(keep_exits(network, kept)(images), kept, strict=True):
            assert torch.equal(logits, whole[k - 1])


@st.composite
def runs(draw: st.DrawFn) -> RunInfo:
    classes = tuple(draw(st.lists(TEXT, min_size=2, max_size=4)))
    places = tuple(draw(st.lists(TEXT, min_size=1, max_size=4)))
    config = TrainConfig(
        data=DataConfig(source=draw(TEXT), size=(8, 8), seed=draw(st.integers(0, 2**40)), memory_gib=draw(MS)),
        network=NetworkConfig(
            arch="resnet8",
            exits=len(places),
            classes=len(classes),
            image_shape=(draw(st.sampled_from([1, 3])), 8, 8192),
            mean=(draw(st.floats(0, 255)),),
            std=(draw(st.floats(1e-6, 1e6)),),
            arch_options={"a": draw(st.sampled_from([True, 3, 0.5, "x", (1, 2)]))},
        ),
        loss=LossConfig(method=draw(st.sampled_from(METHODS)), alpha=draw(SHARE)),
        optim=OptimConfig(lr=draw(st.floats(1e-300, 1e300)), weight_decay=draw(MS)),
        augment=AugmentConfig(pad=draw(st.integers(0, 9)), flip=draw(st.booleans())),
        compute=ComputeConfig(),
        seed=draw(st.integers(0, 2**31)),
    )
    digests = [draw(DIGEST) for _ in range(3)]
    return RunInfo(
        created=draw(TEXT),
        config=config,
        classes=classes,
        train_sha256=digests[0],
        calibration_sha256=digests[1],
        test_sha256=digests[2],
        places=places,
        versions={draw(TEXT): draw(TEXT)},
    )


@given(info=runs())
@QUICK
def test_a_run_is_read_as_written(info: RunInfo, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_info(info)
    assert folder.read_info() == info


@given(rows=st.lists(st.lists(SHARE, min_size=1, max_size=4), max_size=6), text=TEXT, loss=st.floats(-1e308, 1e308))
@QUICK
def test_metrics_are_read_as_written(rows: list[list[float]], text: str, loss: float, tmp_path: Path) -> None:
    written = [{"epoch": k, "accuracy": row, "note": text, "loss": loss} for k, row in enumerate(rows, 1)]
    folder = RunFolder(tmp_path)
    folder.write_metrics(written)
    assert folder.read_metrics() == written


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    kind=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int8, torch.int64, torch.bool]),
    name=TEXT.filter(lambda text: text != "__metadata__"),
    facts=st.dictionaries(TEXT, st.one_of(st.integers(-(2**60), 2**60), TEXT, st.floats(-1e300, 1e300)), max_size=4),
    seed=st.integers(0, 99),
)
@QUICK
def test_tensors_are_read_as_written(
    shape: list[int], kind: torch.dtype, name: str, facts: dict[str, Any], seed: int, tmp_path: Path
) -> None:
    torch.manual_seed(seed)
    tensor = (torch.randn(shape) * 50).to(kind)
    folder = RunFolder(tmp_path)
    folder.write_tensors(tmp_path / "t.safetensors", {name: tensor}, facts)
    found, said = folder.read_tensors(tmp_path / "t.safetensors")
    assert said == facts
    assert found.keys() == {name}
    assert found[name].dtype == kind
    assert torch.equal(found[name], tensor)


@given(classes=st.lists(TEXT, min_size=4, max_size=4), share=SHARE, ms=MS, name=TEXT, temperature=st.floats(1e-3, 1e3))
@QUICK
def test_a_manifest_is_read_as_written(
    classes: list[str], share: float, ms: float, name: str, temperature: float, tmp_path: Path, tiny_bundle: Path
) -> None:
    manifest = read_bundle(tiny_bundle).manifest
    variant = manifest.variants[0]
    assert variant.calibration is not None
    point = variant.calibration.points[0].model_copy(update={"name": name, "accuracy": share, "expected_ms": ms})
    exits = tuple(e.model_copy(update={"temperature": temperature}) for e in variant.calibration.exits)
    calibration = variant.calibration.model_copy(update={"points": (point,), "exits": exits})
    changed = manifest.model_copy(
        update={
            "classes": tuple(classes),
            "variants": (variant.model_copy(update={"calibration": calibration}), *manifest.variants[1:]),
        }
    )
    write_manifest(tmp_path, changed)
    assert read_bundle(tmp_path).manifest == changed == Manifest.model_validate(changed.model_dump())


@given(
    text=TEXT,
    times=st.lists(MS, min_size=1, max_size=6),
    percent=st.integers(0, 100),
    exits=st.lists(st.integers(1, 3), max_size=3),
)
@QUICK
def test_results_and_raw_timings_are_read_as_written(
    text: str, times: list[float], percent: int, exits: list[int], tmp_path: Path
) -> None:
    condition = Condition(battery_percent=percent, charging=None, battery_celsius=times[0])
    shell = ShellBench(
        variant=text, file="segment-1", sha256="0" * 64, threads=1, init=times[0], first=times[-1], count=len(times),
        mean=math.fsum(times) / len(times), minimum=min(times), maximum=max(times),
    )  # fmt: skip
    circumstances = {"way": "app", "burst": True, "before": condition, "after": condition}
    base = make_results()
    results = type(base).model_validate(
        {**base.model_dump(), "notes": (text,), "shell": (shell.model_dump(),), "circumstances": circumstances}
    )
    answers = Answers(exits=tuple(exits), predicted=tuple(exits), probabilities=tuple(0.5 for _ in exits))
    raw = Raw(
        created=results.created, times={text: tuple(times)}, images=(0,), labels=(1,), answers={"v": {text: answers}}
    )
    path = tmp_path / "r.json"
    written = write_results(path, results, raw)
    assert read_results(path) == written
    assert read_raw(path, written) == raw


FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), FINITE, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip


@given(value=JSON)
@QUICK
def test_json_is_read_as_written(value: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "v.json", value)
    assert parse_json((tmp_path / "v.json").read_bytes()) == value


@given(
    images=st.integers(1, 5),
    classes=st.integers(2, 4),
    kind=st.sampled_from(["float32", "int8", "uint8"]),
    seed=st.integers(0, 99),
)
@QUICK
def test_golden_samples_are_read_as_written(
    images: int, classes: int, kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from msd_edge.bundle.golden import read_golden, write_golden
    from msd_edge.bundle.reader import Bundle

    folder = tmp_path_factory.mktemp("golden")
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (images, 8, 12, 3), dtype=np.uint8)
    outputs = (rng.standard_normal((images, 3, classes)) * 40).astype(kind)
    labels = rng.integers(0, classes, images).tolist()
    golden = write_golden(folder, pixels, labels, {"onnx-float32": outputs})

    class Fake:
        """As much of a manifest as golden samples need."""

        input = type("I", (), {"height": 8, "width": 12, "channels": 3})
        exits = (0, 0, 0)

    manifest: Any = Fake()
    manifest.golden, manifest.classes = golden, tuple(range(classes))
    manifest.variants = (type("V", (), {"name": "onnx-float32"}),)
    found = read_golden(Bundle(folder, manifest, ""))
    assert found.images.tobytes() == pixels.tobytes()
    assert found.labels.tolist() == labels
    assert found.outputs.dtype == outputs.dtype
    assert found.outputs.tobytes() == outputs.tobytes()
