"""Makes what the app is built and tested with, by the Python side, anew: ``make_fixtures.py FOLDER``.

- ``bundles/``: real exports of networks trained on handwritten digits (``digits``, and ``scales``, whose segments hand
  several tensors on), the same with the other exit rules, and ``colour``, small RGB files with no training behind them;
- ``expected/NAME.json`` and ``.u8``: images with the raw logits, exits, classes and scores that Python gives for them;
- ``resize.*``, ``rules.json``, ``manifests.json``: cases for resizing, exit rules and manifests, with Python's answers;
- ``assets/bundles/``: what the APK ships.
"""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.bundles import ALL, make_bundle  # noqa: E402

from msd_edge.bundle.golden import read_golden  # noqa: E402
from msd_edge.bundle.reader import read_bundle  # noqa: E402
from msd_edge.bundle.writer import replace_calibration  # noqa: E402
from msd_edge.data.load import load_dataset  # noqa: E402
from msd_edge.data.resize import fit_array  # noqa: E402
from msd_edge.errors import BundleError  # noqa: E402
from msd_edge.exits.fit import fit_calibration  # noqa: E402
from msd_edge.exits.rules import ExitRule, never, score, split_exits  # noqa: E402
from msd_edge.runtime.cascade import rule_of  # noqa: E402
from msd_edge.runtime.chain import Chain  # noqa: E402
from msd_edge.runtime.session import dequantize  # noqa: E402

IMAGES = 120
RULES = ("max-softmax", "entropy", "patience", "averaged")


def main(folder: Path) -> None:
    """Make everything anew."""
    if folder.exists():
        shutil.rmtree(folder)
    bundles = folder / "bundles"
    bundles.mkdir(parents=True)
    make_digits(folder / "runs", bundles / "digits", "resnet8", "--width", "8", "--epochs", "12")
    small = ("--arch-option", "growth=4", "--arch-option", "base=2", "--arch-option", "scales=2", "--exits", "3")
    make_digits(folder / "runs", bundles / "scales", "msdnet", *small, "--epochs", "2")
    make_bundle(bundles / "colour", variants=ALL, channels=3)
    for rule in RULES[1:]:
        recalibrate(bundles / "digits", bundles / f"digits-{rule}", rule)
    for bundle in sorted(bundles.iterdir()):
        expect(bundle, folder / "expected")
    make_resize_cases(folder)
    make_rule_cases(folder)
    make_manifest_cases(bundles / "digits" / "manifest.json", folder)
    ship(bundles / "digits", folder / "assets" / "bundles" / "digits")


def make_digits(runs: Path, bundle: Path, arch: str, *options: str) -> None:
    """Train, export and calibrate with the product's own commands."""
    run = runs / bundle.name
    msd_edge("train", "--data", "digits", "--arch", arch, *options, "--out", str(run))
    # How good two minutes of training are is no matter here, so nor is what int8 loses of it.
    both = ("--target", "tflite", "--target", "onnx")
    msd_edge("export", str(run), "--int8", *both, "--max-drop", "100", "--out", str(bundle))
    msd_edge("calibrate", str(bundle))


def msd_edge(*arguments: str) -> None:
    """Run a command of the product."""
    subprocess.run([sys.executable, "-m", "msd_edge", *arguments], check=True, stdout=subprocess.DEVNULL)


def recalibrate(source: Path, target: Path, rule: Any) -> None:
    """Copy a bundle and fit another exit rule on its own test images."""
    shutil.copytree(source, target)
    bundle = read_bundle(target)
    images, labels = test_images(target)
    macs = [info.chain_macs for info in bundle.manifest.exits]
    found = {}
    for variant in bundle.manifest.variants:
        assert variant.calibration is not None
        with Chain(bundle, variant=variant.name) as chain:
            logits = np.stack([chain.logits(image) for image in images])
        latency = variant.calibration.latency
        found[variant.name] = fit_calibration(
            rule, logits, labels, latency=latency, chain_macs=macs, split_sha256=variant.calibration.split_sha256
        )
    replace_calibration(bundle, found)


def test_images(path: Path) -> tuple[Any, Any]:
    """Return images (images, H, W, C) new to a bundle, and their labels; without data golden ones and noise."""
    bundle = read_bundle(path)
    if path.name == "colour":
        golden = read_golden(bundle)
        noise = np.random.default_rng(0).integers(0, 256, (IMAGES, *golden.images.shape[1:]), np.uint8)
        return np.concatenate([golden.images, noise]), np.zeros(IMAGES + len(golden.images), np.int64)
    test = load_dataset(bundle.manifest.source.data).test
    places = np.arange(min(IMAGES, len(test)))
    return test.read(places), test.labels[places]


def expect(path: Path, folder: Path) -> None:
    """Write what Python says of a bundle's test images, for every variant, exit and operating point."""
    folder.mkdir(exist_ok=True)
    bundle = read_bundle(path)
    images, _ = test_images(path)
    (folder / f"{path.name}.u8").write_bytes(np.ascontiguousarray(images).tobytes())
    variants = {}
    for variant in bundle.manifest.variants:
        assert variant.calibration is not None
        with Chain(bundle, variant=variant.name) as chain:
            raw = np.stack([chain.raw_logits(image) for image in images])
        specs = [segment.logits for segment in variant.segments]
        logits = np.stack([dequantize(raw[:, k], spec.scale, spec.zero_point) for k, spec in enumerate(specs)], axis=1)
        calibration = variant.calibration
        points = {}
        for point in (*calibration.points, *calibration.front, *calibration.budgeted):
            rule = rule_of(variant, point)
            exits = rule.take(logits)
            tops = [float(rule.decide(int(e), list(row))[1].max()) for e, row in zip(exits, logits, strict=True)]
            points[point.name] = {
                "exits": (exits + 1).tolist(),
                "classes": rule.name_classes(logits)[np.arange(len(images)), exits].tolist(),
                "probabilities": tops,
            }
        variants[variant.name] = {"raw": raw.tolist(), "points": points}
    text = json.dumps({"images": len(images), "variants": variants}, allow_nan=False)
    (folder / f"{path.name}.json").write_text(text)


def make_resize_cases(folder: Path) -> None:
    """Write random images of many sizes with what training and ``predict`` make of them."""
    random = np.random.default_rng(1)
    sizes = [(8, 12), (16, 16), (7, 5), (32, 32), (224, 224), (1, 1), (97, 61), (640, 480), (333, 500), (12, 8)]
    sizes += [(33, 32), (200, 30)]
    wanted = [(16, 16), (8, 12), (32, 32), (96, 64), (1, 1), (224, 224)]
    cases, pixels = [], bytearray()
    for number, (height, width) in enumerate(sizes):
        for channels in (1, 3):
            image = random.integers(0, 256, (height, width, channels), np.uint8)
            if number % 3 == 0:  # something smooth too, and hard edges
                smooth = np.linspace(0, 254, width).astype(np.uint8)[None, :, None]
                image = np.where(image > 127, np.uint8(255), smooth)
            for place, (to_height, to_width) in enumerate(wanted):
                to_channels = channels if place % 2 == 0 else 4 - channels
                result = fit_array(image, to_height, to_width, to_channels)
                cases.append([width, height, channels, to_width, to_height, to_channels, len(pixels)])
                pixels += image.tobytes() + result.tobytes()
    for _ in range(4):
        rgba = random.integers(0, 256, (9, 11, 4), np.uint8)
        rgba[0, 0, 3], rgba[0, 1, 3] = 0, 255
        seen = Image.alpha_composite(Image.new("RGBA", (11, 9), "white"), Image.fromarray(rgba)).convert("RGB")
        cases.append([11, 9, 4, 11, 9, 3, len(pixels)])
        pixels += rgba.tobytes() + np.asarray(seen).tobytes()
    (folder / "resize.json").write_text(json.dumps(cases))
    (folder / "resize.bin").write_bytes(bytes(pixels))


def make_rule_cases(folder: Path) -> None:
    """Write random logits with scores and decisions of every rule."""
    random = np.random.default_rng(2)
    cases = []
    for classes in (2, 3, 7, 8, 10, 100, 129, 1000):
        for rule in RULES:
            temperatures = tuple(float(t) for t in random.uniform(0.2, 4, 3))
            weights: tuple[tuple[float, ...], ...] = ()
            if rule == "averaged":
                weights = tuple(tuple(float(w) for w in random.uniform(0, 2, k)) for k in (1, 2, 3))
            logits = (random.normal(size=(24, 3, classes)) * random.choice([0.1, 2, 30])).astype(np.float32)
            if rule == "patience":
                thresholds: tuple[float, ...] = (float(random.integers(0, 3)),) * 2
                scores: list[list[float]] = []
            else:
                bare = ExitRule(rule, (never(rule, 3),) * 2, temperatures, weights)
                values = [score(rule, *bare.basis(k, split_exits(logits))) for k in range(2)]
                thresholds = tuple(float(np.median(value)) for value in values)
                scores = [[float(s) for s in value] for value in values]
            cases.append(
                {
                    "rule": rule,
                    "thresholds": thresholds,
                    "temperatures": temperatures,
                    "weights": weights,
                    "logits": [[[float(v) for v in row] for row in image] for image in logits],
                    "exits": (ExitRule(rule, thresholds, temperatures, weights).take(logits) + 1).tolist(),
                    "scores": scores,
                }
            )
    (folder / "rules.json").write_text(json.dumps(cases, allow_nan=False))


Change = Callable[[dict[str, Any]], Any]


def put(*path: Any, value: Any) -> Change:
    """Return the change that sets what lies at ``path``."""

    def change(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return change


def drop(*path: Any) -> Change:
    """Return the change that removes what lies at ``path``."""

    def change(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]

    return change


def weigh(calibration: dict[str, Any], rule: str | None = None, more: int = 0, weight: float = 0.5) -> None:
    """Give the exits of a calibration weights."""
    calibration["rule"] = rule or calibration["rule"]
    for place, entry in enumerate(calibration["exits"], 1):
        entry["weights"] = [weight] * (place + more)


INT8 = 1  # the place of tflite-int8
FIRST, SECOND = ("variants", INT8, "segments", 0), ("variants", INT8, "segments", 1)


def manifest_changes() -> Iterator[tuple[str, Change]]:
    """Yield ways to change a manifest, good and bad."""
    yield "unchanged", lambda manifest: None
    yield "a name in another script", put("name", value="цифры 数字")
    yield "no calibration", put("variants", 0, "calibration", value=None)
    yield "calibration left out", drop("variants", 0, "calibration")
    for version in (0, -1, 2, 99, "1", 1.0, None, True):
        yield f"schema_version {version!r}", put("schema_version", value=version)
    yield "no schema_version", drop("schema_version")
    for key in ("name", "classes", "input", "exits", "variants", "golden", "source", "versions", "created"):
        yield f"no {key}", drop(key)
        yield f"{key} null", put(key, value=None)
    yield "an unknown key", put("extra", value=1)
    yield "an unknown key inside", put(*FIRST, "extra", value=1)
    yield "one class", put("classes", value=["a"])
    yield "eleven classes", put("classes", value=[str(k) for k in range(11)])
    yield "no variant", put("variants", value=[])
    yield "a variant twice", lambda manifest: manifest["variants"].append(copy.deepcopy(manifest["variants"][0]))
    yield from segment_changes()
    yield "another image size", put("input", "height", value=17)
    yield "four channels", put("input", "channels", value=4)
    yield "another filter", put("input", "resize", value={"filter": "bicubic", "fit": "cover"})
    yield "no resize", drop("input", "resize")
    yield "segments swapped", lambda m: m["variants"][0]["segments"].reverse()
    yield "a segment less", lambda m: m["variants"][0]["segments"].pop()
    yield "an exit less", lambda m: m["exits"].pop()
    yield "stand-alone exits swapped", lambda m: m["variants"][0]["exits"].reverse()
    yield "no stand-alone exits", put("variants", 0, "exits", value=[])
    yield "no multi-signature file", put("variants", 0, "multi_signature", value=None)
    yield "unknown target", put("variants", 0, "target", value="coreml")
    yield "unknown precision", put("variants", 0, "precision", value="int4")
    calibration = ("variants", 0, "calibration")
    yield "unknown rule", put(*calibration, "rule", value="learned")
    yield "no points", put(*calibration, "points", value=[])
    yield "a threshold less", lambda m: m["variants"][0]["calibration"]["points"][0]["thresholds"].pop()
    yield "a share above 1", put(*calibration, "points", 0, "exit_shares", 0, value=1.5)
    yield "temperature 0", put(*calibration, "exits", 0, "temperature", value=0)
    yield "a temperature less", lambda m: m["variants"][0]["calibration"]["exits"].pop()
    yield "weights of another rule", lambda m: weigh(m["variants"][0]["calibration"])
    yield "weights", lambda m: weigh(m["variants"][0]["calibration"], rule="averaged")
    yield "too many weights", lambda m: weigh(m["variants"][0]["calibration"], rule="averaged", more=1)
    yield "averaged without weights", put(*calibration, "rule", value="averaged")
    yield "a weight beyond float32", lambda m: weigh(m["variants"][0]["calibration"], rule="averaged", weight=1e39)
    yield "a temperature that divides to infinity", put(*calibration, "exits", 0, "temperature", value=1e-44)
    yield "a weight below 0", put(*calibration, "exits", 0, "weights", value=[-1])
    yield "a label less", lambda m: m["golden"]["labels"].pop()
    yield "golden of another variant", put("golden", "outputs", 0, "variant", value="tflite-int4")
    yield "golden path climbs", put("golden", "path", value="../images.u8")


def segment_changes() -> Iterator[tuple[str, Change]]:
    """Yield ways to change what a manifest says of files and tensors."""
    for path in ("../x", "/etc/passwd", "a/../../b", "a\\b", "c:x", "", ".", "./a", "a//b", "a/./b", "x\0y"):
        yield f"path {path!r}", put(*FIRST, "path", value=path)
    for digest in ("", "0" * 63, "G" * 64, "A" * 64, "0" * 64):
        yield f"sha256 {digest!r}", put(*FIRST, "sha256", value=digest)
    for size in (0, -1, 1.5, "5"):
        yield f"bytes {size!r}", put(*FIRST, "bytes", value=size)
    yield "seam shape", put(*SECOND, "inputs", 0, "shape", value=[1, 4, 4, 4])
    yield "seam layout", put(*SECOND, "inputs", 0, "layout", value="NCHW")
    yield "seam scale", put(*SECOND, "inputs", 0, "scale", value=0.5)
    yield "seam zero point", put(*SECOND, "inputs", 0, "zero_point", value=5)
    yield "seam count", put(*SECOND, "inputs", value=[])
    yield "seam dtype", lambda m: m["variants"][INT8]["segments"][1]["inputs"][0].update(dtype="uint8", zero_point=5)
    yield "no features", put(*FIRST, "features", value=[])
    yield (
        "features on the last",
        lambda m: m["variants"][0]["segments"][-1].update(features=m["variants"][0]["segments"][0]["features"]),
    )
    for scale in (0, -1.0, 1e-40, 1e39, None, "1"):
        yield f"scale {scale!r}", put(*FIRST, "logits", "scale", value=scale)
    for zero in (-129, 128, None, 1.0, True):
        yield f"zero point {zero!r}", put(*FIRST, "logits", "zero_point", value=zero)
    yield "float with a scale", put("variants", 0, "segments", 0, "logits", "scale", value=1.0)
    yield "dtype int16", put(*FIRST, "logits", "dtype", value="int16")
    yield "layout HWC", put(*FIRST, "inputs", 0, "layout", value="HWC")
    yield "shape of three", put(*FIRST, "inputs", 0, "shape", value=[1, 16, 16])
    yield "a batch of two", put(*FIRST, "inputs", 0, "shape", value=[2, 16, 16, 1])
    yield "a length of 0", put(*FIRST, "inputs", 0, "shape", value=[1, 0, 16, 1])


def make_manifest_cases(source: Path, folder: Path) -> None:
    """Write manifests, good and bad, with whether Python takes them."""
    trial = folder / "trial"
    trial.mkdir()
    original = json.loads(source.read_text())
    for variant in original["variants"]:  # small enough to be written a hundred times
        variant["calibration"]["front"] = []
        variant["calibration"]["budgeted"] = []
    texts = []
    for name, change in manifest_changes():
        changed = copy.deepcopy(original)
        change(changed)
        texts.append((name, json.dumps(changed, ensure_ascii=False)))
    plain = json.dumps(original)
    texts += [
        ("empty", ""),
        ("cut off", plain[:1000]),
        ("no object", "[]"),
        ("a key twice", '{"name": "x", ' + plain[1:]),
        ("text after it", plain + "x"),
        ("NaN", plain.replace(f'"bytes": {original["variants"][0]["segments"][0]["bytes"]}', '"bytes": NaN', 1)),
        ("nested too deeply", "[" * 100_000),
    ]
    cases = []
    for name, text in texts:
        (trial / "manifest.json").write_text(text, encoding="utf-8")
        try:
            read_bundle(trial)
            cases.append({"name": name, "text": text, "accepted": True, "message": ""})
        except BundleError as problem:
            cases.append({"name": name, "text": text, "accepted": False, "message": str(problem)})
    shutil.rmtree(trial)
    (folder / "manifests.json").write_text(json.dumps(cases, ensure_ascii=False), encoding="utf-8")


def ship(source: Path, target: Path) -> None:
    """Copy a bundle's TFLite variants: what the runtimes in the APK can run."""
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["variants"] = [variant for variant in manifest["variants"] if variant["target"] == "tflite"]
    names = {f"{variant['target']}-{variant['precision']}" for variant in manifest["variants"]}
    manifest["golden"]["outputs"] = [entry for entry in manifest["golden"]["outputs"] if entry["variant"] in names]
    for name in names:
        shutil.copytree(source / name, target / name)
    (target / "golden").mkdir()
    for entry in (manifest["golden"], *manifest["golden"]["outputs"]):
        shutil.copy(source / entry["path"], target / entry["path"])
    (target / "manifest.json").write_text(json.dumps(manifest))
    read_bundle(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
