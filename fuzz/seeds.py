"""Write the first inputs of every target, whole and right: ``python -m fuzz.seeds`` from the repository's root."""

import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from support.bench_data import make_dataset  # noqa: E402
from support.bundles import average_exits, make_bundle  # noqa: E402
from support.phone_answer import make_answer  # noqa: E402
from support.report_data import results  # noqa: E402
from support.small_run import train_small_run, write_stripes  # noqa: E402

from fuzz.targets import CORPUS  # noqa: E402

_TIMINGS = """INFO: count=50 first=1234 curr=1200 min=1100 max=1500 avg=1210.5 std=30 p5=1110 median=1200 p95=1300
INFO: Inference timings in us: Init: 4321, First inference: 1234, Warmup (avg): 1215.2, Inference (avg): 1210.5
"""
_WORDS = {
    0: ("224", "96x128"), 1: ("123.7,116.3,103.5",), 2: ("58.4,57.1,57.4",), 3: ("growth=12", "steps=[1,2]"),
    4: ("1,3",), 5: ("1:1,2:1", "stem", "0.2,0.5"), 6: ("resnet20-cifar10",), 7: ("tflite",), 8: ("0.93", "93"),
    9: ("resnet20", "vgg16", "mobilenetv3-small", "timm:resnet18", "my_net.py:build"),
}  # fmt: skip
_STUDY = """baseline = "joint"
seeds = [0, 1]
trials = 2
optim = { batch_size = 16, lr = 0.1, schedule = "one-cycle" }
[networks.small]
arch = "resnet8"
width = 4
exits_at = "1,2"
arch_options = { steps = [1, 2] }
methods = ["joint"]
[data.x]
source = "x.npz"
images_per_class = 30
optim = { epochs = 2 }
[methods.joint]
loss = { method = "joint" }
[methods.msd]
loss = { method = "msd", equilibrium = true }
search = { alpha = [0.1, 0.5] }
"""
_SAID = (
    (0, 'INSTRUMENTATION_STATUS: step={"done": 1, "total": 2, "text": "x"}\nINSTRUMENTATION_STATUS_CODE: 1\n'
        "INSTRUMENTATION_RESULT: nonce=n\nINSTRUMENTATION_RESULT: sha256=00\nINSTRUMENTATION_CODE: -1\n"),
    (0, "INSTRUMENTATION_RESULT: error=ParityError\nINSTRUMENTATION_RESULT: message=exit 1 differs.\n"
        "INSTRUMENTATION_RESULT: nonce=n\nINSTRUMENTATION_CODE: 0\n"),
    (0, "INSTRUMENTATION_RESULT: shortMsg=Process crashed.\nINSTRUMENTATION_CODE: 0\n"),
    (1, '{"device": {"kind": "cpu", "name": "b", "processor": "A", "features": [], "cores": 4, "memory_mib": 100, '
        '"system": "Linux"}, "versions": {"msd-edge": "0.1.0"}, "runtimes": {"tflite": ["litert"]}}'),
    (2, "List of devices attached\n3A11 device usb:1-1 product:shiba model:Pixel_8 transport_id:1\n"
        "5B22 unauthorized usb:1-2\n"),
    (3, "  level: 81\n  AC powered: true\n  temperature: 253\nThermal Status: 0\n0 1800000\n7 2800000\n"
        "Filesystem 1K-blocks Used Available Use% Mounted\n/dev/block 100 50 1000000 50% /data\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd05\nmodel name\t: AMD EPYC\nflags\t: avx2 f16c\nFeatures\t: asimd\n"),
    (4, '{"done": 1, "total": 2, "text": "images", "error": null, "message": ""}'),
)  # fmt: skip


def main() -> None:
    """Write all seeds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variant in ("onnx-float32", "tflite-int8"):
            bundle = make_bundle(folder / variant, variants=(variant,), exits=2, classes=3)
            _put("manifest", f"{variant}.json", _shorten((bundle / "manifest.json").read_bytes()))
            if variant == "onnx-float32":
                _put("manifest", "averaged.json", _shorten((average_exits(bundle) / "manifest.json").read_bytes()))
            one = next(iter(sorted(bundle.glob("**/segment-2*"))))
            _put(variant.split("-", maxsplit=1)[0], one.name, one.read_bytes())
            if one.suffix == ".tflite":
                _put("tflite-census", one.name, one.read_bytes())
        int8 = make_bundle(folder / "q", variants=("onnx-int8",), exits=2, classes=3)
        _put("onnx", "segment-1.int8.onnx", next(iter(sorted(int8.glob("**/segment-1*")))).read_bytes())
        run = train_small_run(folder / "run", write_stripes(folder / "d.npz", 48, 12), epochs=2)
        _put("run", "run.json", _shorten((run / "run.json").read_bytes()))
        _put("metrics", "metrics.jsonl", (run / "metrics.jsonl").read_bytes())
        state = (run / "state.safetensors").read_bytes()
        header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
        _put("checkpoint", "facts.json", header["__metadata__"]["msd_edge"].encode())
        (folder / "p").mkdir()
        answer = make_answer(folder / "p", make_dataset(8))
        _put("phone-result", "result.json", json.dumps(answer.value).encode())
    from safetensors.numpy import save

    tensors = {"a": np.zeros((2, 2), np.float32), "b": np.ones(3, np.int8)}
    _put("safetensors", "two.safetensors", save(tensors, metadata={"msd_edge": '{"epoch": 1}'}))
    found = results()
    small = found.model_copy(update={"variants": found.variants[:1]})
    small = small.model_copy(update={"variants": (small.variants[0].model_copy(update={"examples": ()}),)})
    _put("results", "one-variant.json", small.model_dump_json().encode())
    answers = {"exits": [1], "predicted": [0], "probabilities": [0.5]}
    raw = {
        "schema_version": 1,
        "created": small.created,
        "times": {"a": [1.0, 2.0]},
        "images": [0, 1],
        "labels": [1, 0],
        "answers": {"v": {"p": answers}},
    }
    _put("raw-timings", "raw.json", json.dumps(raw).encode())
    _put("settings", "options.json", b'{"max-ms": 1.5, "rule": "entropy", "variant": ["tflite-int8"], "threads": 2}')
    _put("settings", "options.toml", b"min_accuracy = 0.9\nimages = 100\nvariant = ['a']\njson = true\n")
    _put("study", "study.toml", _STUDY.encode())
    _seed_data()
    for place, text in enumerate(_SAID):
        _put("device-answers", f"said-{place}", bytes([text[0]]) + text[1].encode())
    _put("benchmark-model", "said.txt", _TIMINGS.encode())
    for kind, texts in _WORDS.items():
        for place, text in enumerate(texts):
            _put("option-words", f"{kind}-{place}", bytes([kind]) + text.encode())


def _seed_data() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, 4, 4), dtype=np.uint8)
    arrays = {"x_train": images[:8], "y_train": np.arange(8) % 2, "x_test": images[8:], "y_test": np.arange(4) % 2}
    for name, more in (("grey", {}), ("named", {"classes": np.array(["a", "b"])})):
        buffer = io.BytesIO()
        (np.savez_compressed if more else np.savez)(buffer, **arrays, **more)
        _put("npz", f"{name}.npz", buffer.getvalue())
    for place, key in enumerate((*arrays, "classes")):
        buffer = io.BytesIO()
        np.save(buffer, arrays.get(key, np.array(["a", "b"])))
        _put("npy", key, bytes([place]) + buffer.getvalue())
    for suffix, mode in (("png", "RGB"), ("jpeg", "RGB"), ("gif", "P"), ("bmp", "L"), ("tiff", "RGB"), ("webp", "RGB"),
                         ("ppm", "RGB"), ("png", "LA"), ("png", "I;16")):  # fmt: skip
        buffer = io.BytesIO()
        shape = (9, 7, 3) if mode == "RGB" else (9, 7)
        picture = Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8))
        picture = Image.fromarray(rng.integers(0, 65535, shape, dtype=np.uint16)) if mode == "I;16" else picture
        (picture if picture.mode == mode else picture.convert(mode)).save(buffer, suffix)
        _put("image", f"{mode.replace(';', '')}.{suffix}", buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("AndroidManifest.xml", b"x")
        archive.writestr("lib/arm64-v8a/libtensorflowlite_jni.so", b"y")
    _put("apk", "app.apk", buffer.getvalue())


def _shorten(text: bytes) -> bytes:
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode()


def _put(target: str, name: str, data: bytes) -> None:
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
