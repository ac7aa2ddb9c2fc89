"""``msd-edge export`` on a real run: what it writes, what it refuses, what it leaves behind when a gate fails."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.small_run import train_small_run, write_stripes

import msd_edge
from msd_edge.bundle.reader import read_bundle
from msd_edge.cli.app import run
from msd_edge.cli.plan import export_words
from msd_edge.exits.subsets import Subset
from msd_edge.runtime.chain import Chain
from msd_edge.runtime.golden_check import check_golden


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("export é")
    return train_small_run(where / "runs/small", write_stripes(where / "stripes.npz"))


@pytest.fixture(scope="module")
def bundle(trained: Path) -> Path:
    out = trained.parent.parent / "bundles/small"
    assert run(["export", str(trained), "--int8", "--target", "onnx", "--out", str(out)]) == 0
    return out


def test_bundle_holds_every_form_and_its_proof(bundle: Path, trained: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert [v.name for v in manifest.variants] == ["onnx-float32", "onnx-int8"]
    assert manifest.source.run == trained.name
    for variant in manifest.variants:
        assert len(variant.segments) == len(variant.exits) == 3
        for file in (*variant.segments, *variant.exits):
            assert read_bundle(bundle).read(file)
        image = variant.segments[0].inputs[0]
        assert image.dtype == ("uint8" if variant.precision == "int8" else "float32")
        assert check_golden(read_bundle(bundle), variant.name, None, 1).bit_equal
    written = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    named = {f.path for v in manifest.variants for f in (*v.segments, *v.exits)}
    named |= {manifest.golden.path, "manifest.json", *(o.path for o in manifest.golden.outputs)}
    assert written == named


def test_files_compute_what_the_network_computes(bundle: Path, trained: Path) -> None:
    import torch

    network = msd_edge.load(trained)
    images = np.random.default_rng(5).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = torch.stack(network(torch.from_numpy(images).permute(0, 3, 1, 2).float())).transpose(0, 1).numpy()
    with Chain(read_bundle(bundle), variant="onnx-float32") as chain:
        found = np.stack([chain.logits(image) for image in images])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_a_bundle_that_is_there_is_kept(bundle: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (bundle / "manifest.json").read_bytes()
    assert run(["export", str(trained), "--target", "onnx", "--out", str(bundle)]) == 2
    assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert (bundle / "manifest.json").read_bytes() == before


def test_onnx_weights_have_seven_bits(bundle: Path) -> None:
    """On x86 without VNNI pairs of large activations and 8-bit weights saturate in 16 bits."""
    import onnx
    from onnx import numpy_helper

    for path in sorted((bundle / "onnx-int8").glob("*.onnx")):
        tensors = onnx.load(path).graph.initializer
        weights = [numpy_helper.to_array(t) for t in tensors if t.data_type == onnx.TensorProto.INT8]
        weights = [weight for weight in weights if weight.ndim > 1]
        assert {weight.ndim for weight in weights} == {2, 4}
        assert max(np.abs(weight.astype(int)).max() for weight in weights) == 64


@pytest.fixture
def broken(trained: Path, tmp_path: Path) -> Path:
    """The same function in float, with one channel a thousand times larger inside: int8 has no steps for the others."""
    folder = tmp_path / "runs/broken"
    shutil.copytree(trained, folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["trunk.0.1.first.1.weight"][0] *= 1000
    tensors["trunk.0.1.first.1.bias"][0] *= 1000
    tensors["trunk.0.1.second.0.weight"][:, 0] /= 1000
    save_file(tensors, weights, metadata={"msd_edge": json.dumps({"epoch": 1})})
    return folder


def test_a_drop_names_exits_and_the_costliest_layer_and_writes_nothing(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = broken.parent.parent / "bundles/broken"
    assert run(["export", str(broken), "--int8", "--target", "onnx", "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "onnx-int8: exit 1 drops" in message
    assert "the costliest layer is segment-1/" in message
    assert "--fallback" in message
    assert "--max-drop" in message
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_a_failed_export_with_overwrite_keeps_the_old_bundle(broken: Path, bundle: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    before = {p.relative_to(old): p.read_bytes() for p in old.rglob("*") if p.is_file()}
    assert run(["export", str(broken), "--int8", "--target", "onnx", "--out", str(old), "--overwrite"]) == 1
    assert {p.relative_to(old): p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_fallback_keeps_layers_in_float_and_says_which(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = broken.parent.parent / "bundles/fallback"
    assert run(["export", str(broken), "--int8", "--target", "onnx", "--out", str(out), "--fallback"]) == 0
    assert "kept in float: segment-1/" in capsys.readouterr().out
    variant = read_bundle(out).variant("onnx-int8")
    assert variant.float_layers
    assert all(e.reference - e.exported <= 0.005 or e.p_value >= 0.05 for e in variant.accuracy.exits)
    assert variant.segments[0].features[0].dtype == "uint8"


def test_kept_exits_answer_as_before_on_a_merged_trunk(
    bundle: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(trained), "--int8", "--target", "onnx", "--keep-exits", "1,3"]) == 0
    opened, whole = read_bundle("bundles/small-exits-1-3"), read_bundle(bundle)
    assert [info.place for info in opened.manifest.exits] == [whole.manifest.exits[k].place for k in (0, 2)]
    assert opened.manifest.exits[1].chain_macs < whole.manifest.exits[2].chain_macs
    assert opened.manifest.source.options["keep_exits"] == "1,3"
    images = np.random.default_rng(5).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    for variant in ("onnx-float32", "onnx-int8"):
        with Chain(opened, variant=variant) as kept, Chain(whole, variant=variant) as chain:
            for image in images:
                expected = chain.logits(image)[[0, 2]]
                np.testing.assert_allclose(kept.logits(image), expected, atol=1e-4 * max(1, np.ptp(expected)))


def test_a_plan_weighs_every_subset_and_says_how_to_drop_exits(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", str(bundle), "--variant", "onnx-int8", "--seconds", "0.1", "--max-drop", "1"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "1,2,3" in out
    assert out.splitlines()[-1].startswith("next     ")
    assert run([*arguments, "--max-ms", "1e-6"]) == 0
    assert "--max-ms 1e-06: nothing is that fast" in capsys.readouterr().err
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["subsets"]) == 7
    assert len(found["segment_ms"]) == len(found["exit_ms"]) == 3


def test_a_plan_for_a_bundle_of_some_exits_counts_them_as_the_run_does(bundle: Path) -> None:
    source = read_bundle(bundle).manifest.source
    best = Subset((2,), 0.9, 1.0, (1.0,), True)
    assert export_words(source, best) == "msd-edge export RUN --keep-exits 2"
    some = source.model_copy(update={"options": {**source.options, "keep_exits": "1,3"}})
    assert export_words(some, best) == "msd-edge export RUN --keep-exits 3"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keep-exits", "3,1"], "exits go from early to late"),
        (["--keep-exits", "1,4"], "the network has exits 1 to 3"),
        (["--keep-exits", "one"], "numbers of exits"),
        (["--target", "tflight"], "tflite"),
        (["--float16", "--target", "onnx"], "float16"),
        (["--calibration-images", "3"], "--calibration-images 3: give a whole number from 16 on."),
        (["--max-drop", "-1"], "--max-drop -1: give a number from 0 to 100."),
    ],
)
def test_wrong_options_are_refused_before_work(
    arguments: list[str], says: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(trained), "--out", str(tmp_path / "b"), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_no_run(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(bundle)]) == 2
    assert "this is a bundle already" in capsys.readouterr().err


def test_dry_run_says_what_it_would_write(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(trained), "--int8", "--out", str(tmp_path / "b"), "--dry-run"]) == 0
    assert "tflite-float32, tflite-int8, onnx-float32, onnx-int8" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_eval_of_a_bundle_agrees_with_its_proof(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["eval", str(bundle), "--variant", "onnx-int8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    accuracy = read_bundle(bundle).variant("onnx-int8").accuracy
    assert found["images"] == accuracy.images
    assert found["accuracy"] == pytest.approx([e.exported for e in accuracy.exits])
