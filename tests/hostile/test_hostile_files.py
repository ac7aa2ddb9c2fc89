"""Files that lie: what each would have done, and the sentence it gets instead. Nothing in a file is ever executed."""

import ast
import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import BaseModel, ValidationError
from support.report_data import results as make_results
from support.report_data import save_results
from support.small_run import train_small_run, write_stripes

import msd_edge
from msd_edge.benchmarks.devices.protocol import Progress
from msd_edge.benchmarks.results_io import read_raw, read_results
from msd_edge.bundle.manifest import Sha256
from msd_edge.cli.app import run
from msd_edge.converters.onnx.check import describe
from msd_edge.converters.tflite.census import census
from msd_edge.data.config import DataConfig
from msd_edge.data.load import load_dataset
from msd_edge.data.resize import quiet_pillow, read_image
from msd_edge.errors import BundleError, CheckpointError, ConfigError, DataError, ExportError, ModelError
from msd_edge.files import parse_json
from msd_edge.models.pretrained import read_weights
from msd_edge.runtime.open import open_session
from msd_edge.training.run import RunFolder, load_trained

PACKAGE = Path(msd_edge.__file__).parent


class Bomb:
    """Pickled, it makes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (self.mark,))  # type: ignore[return-value]


@pytest.mark.parametrize("tail", ["\n", " ", "\r", "\0", "0", "\n\n"])
def test_a_digest_has_nothing_behind_it(tail: str) -> None:
    class Holder(BaseModel):
        value: Sha256

    Holder(value="0" * 64)
    with pytest.raises(ValidationError):
        Holder(value="0" * 64 + tail)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e999", "too large a number"),
        ('{"a": -1e400}', "too large a number"),
        ("9" * 5000, "5,000 digits"),
        ("9" * 500, "500 digits"),
        ("[" * 100_000, "nests too deeply"),
        ('{"a": NaN}', "no JSON number"),
        ('{"a": -Infinity}', "no JSON number"),
        ('{"a": 1, "\\u0061": 2}', "stands there twice"),
    ],
)
def test_json_beyond_every_size(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)


# --- runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return train_small_run(folder / "run", write_stripes(folder / "d.npz", 48, 12), epochs=1)


def change_run(trained: Path, folder: Path, change: Any) -> Path:
    """Copy a run and change its configuration."""
    folder.mkdir()
    for name in ("run.json", "model.safetensors", "state.safetensors", "metrics.jsonl"):
        (folder / name).write_bytes((trained / name).read_bytes())
    value = json.loads((folder / "run.json").read_text())
    change(value)
    (folder / "run.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["config"]["network"].update(classes=10**9), "it names 3 classes, and its network has 1000000000"),
        (lambda v: v["config"]["network"].update(exits=10**6), "its network has 1000000"),
        (lambda v: v["config"]["network"].update(width=10**6), "width: input should be less than or equal to 4096"),
        (lambda v: v["config"]["network"].update(image_shape=[3, 10**6, 10**6]), "its network takes images"),
        (lambda v: v["config"]["network"].update(image_shape=[7, 8, 8]), "its network takes images"),
        (lambda v: v["config"]["network"].update(mean=[1.0] * 9), "its normalization has 9 means"),
        (lambda v: v["config"]["network"].update(std=[0.0]), "std"),
        (lambda v: v.update(train_sha256="0" * 64 + "\n"), "train_sha256"),
        (lambda v: v.update(schema_version=2**70), "needs a newer msd-edge"),
        (lambda v: v.update(schema_version=True), "schema_version"),
        (lambda v: v.update(extra=1), "extra"),
    ],
)
def test_a_run_that_contradicts_itself(trained: Path, tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_trained(change_run(trained, tmp_path / "run", change))
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("where", ["evil.py:build", "evil:build", "os:getpid", "subprocess:run"])
def test_a_run_executes_no_code_of_its_own(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """``run.json`` names where a network is imported from: a stranger's run would have run the stranger's code."""
    mark = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n\ndef build(): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = change_run(trained, tmp_path / "run", lambda v: v["config"]["network"].update(arch=where))
    for open_it in (load_trained, msd_edge.load, lambda p: RunFolder(p).read_info()):
        with pytest.raises(CheckpointError, match="MSD_EDGE_TRUST_CODE=1"):
            open_it(path)
    assert run(["eval", str(path)]) == run(["export", str(path), "--dry-run"]) == run(["train", "--resume", str(path)])
    assert not mark.exists()
    monkeypatch.setenv("MSD_EDGE_TRUST_CODE", "1")
    RunFolder(path).read_info()  # on the user's word


def test_code_that_was_trained_with_here_is_known(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def build(): ...\n")
    path = change_run(trained, tmp_path / "run", lambda v: v["config"]["network"].update(arch="mine.py:build"))
    with pytest.raises(CheckpointError):
        RunFolder(path).read_info()
    monkeypatch.setenv("MSD_EDGE_TRUST_CODE", "1")
    info = RunFolder(path).read_info()
    monkeypatch.delenv("MSD_EDGE_TRUST_CODE")
    RunFolder(path).write_info(info)  # as training does, once it has built the network
    assert RunFolder(path).read_info() == info
    monkeypatch.chdir(tmp_path / "run")  # there the name means another file
    with pytest.raises(CheckpointError):
        RunFolder(path).read_info()


@pytest.mark.parametrize(
    "lines",
    [b'{"epoch": 1}\n', b"[1]\n", b"3\n", b'{"epoch": "1", "accuracy": [1]}\n', b'{"epoch": 1, "accuracy": [1e999]}\n',
     b'{"epoch": 1, "accuracy": [2]}\n', b"\xff\xfe\n", b'{"epoch": true, "accuracy": []}\n', b"[" * 50_000],
)  # fmt: skip
def test_metrics_that_are_none_are_left_out(tmp_path: Path, lines: bytes) -> None:
    good = b'{"epoch": 1, "accuracy": [0.5]}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good + lines + good)
    assert [row["epoch"] for row in RunFolder(tmp_path).read_metrics()] == [1]


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        header(a={"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}) + b"\0" * 4,
        header(a={"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]}),
        header(a={"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}) + b"\0" * 8,
        header(
            a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            b={"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
        )
        + b"\0" * 6,
        header(a={"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}) + b"\0" * 4,
        header(__metadata__={"msd_edge": "[" * 9000}),
        pickle.dumps({"a": 1}),
    ],
    ids=["empty", "long header", "huge header", "overflow", "beyond the end", "backwards", "overlap", "type", "deep",
         "pickle"],
)  # fmt: skip
def test_safetensors_that_lie(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"not written by msd-edge.*\.$"):
        RunFolder(tmp_path).read_tensors(path)
    if b"__metadata__" not in data:
        with pytest.raises(ModelError, match="no safetensors file"):
            read_weights(str(path), "resnet8", 2, 3)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors", "w.ckpt"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes it
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError, match="no safetensors file"):
        read_weights(str(path), "resnet8", 2, 3)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError, match="no safetensors file"):
        read_weights(str(path), "resnet8", 2, 3)
    assert not mark.exists()


def test_no_line_of_the_package_opens_a_pickle() -> None:
    """Neither torch.load nor pickle nor eval nor exec stands anywhere; numpy.load says allow_pickle=False."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py", recurse_symlinks=True) if hasattr(Path, "full_match") else walk(PACKAGE)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [
                    f"{path}: {name}" for name in names if name in ("pickle", "marshal", "shelve", "joblib", "yaml")
                ]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                keys = {key.arg: ast.unparse(key.value) for key in node.keywords}
                loads = called in ("np.load", "numpy.load", "np.lib.format.read_array")
                if called in ("torch.load", "eval", "exec", "os.system", "os.popen") or keys.get("shell") == "True":
                    found.append(f"{path}:{node.lineno}: {called}")
                elif loads and keys.get("allow_pickle") != "False":
                    found.append(f"{path}:{node.lineno}: {called} without allow_pickle=False")
    assert found == []


def walk(folder: Path) -> list[Path]:
    return [path for part in (folder, *(p for p in folder.iterdir() if p.is_dir())) for path in part.rglob("*.py")]


# --- results


@pytest.mark.parametrize("name", ["../desk.raw.json", "/etc/passwd", "a/b.json", "a\\b", "x\0y", "..", "."])
def test_raw_timings_lie_beside_their_results(tmp_path: Path, name: str) -> None:
    path = save_results(tmp_path / "desk.json", make_results().model_copy(update={"raw": name}))
    with pytest.raises(ConfigError, match="which is no file beside it"):
        read_raw(path, read_results(path))


# --- data


def array(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def write_npz(path: Path, **members: bytes) -> str:
    whole = {
        "x_train": array(np.arange(32, dtype=np.uint8).reshape(2, 4, 4)),
        "y_train": array(np.array([0, 1])),
        "x_test": array(np.arange(32, 64, dtype=np.uint8).reshape(2, 4, 4)),
        "y_test": array(np.array([0, 1])),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**whole, **members}.items():
            archive.writestr(f"{name}.npy", content)
    return str(path)


def fake_header(text: str, content: bytes = b"") -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + content


@pytest.mark.parametrize(
    "lie",
    [
        fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1099511627776, 1099511627776), }"),
        fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 4, 4), }", b"\0" * 32),
        fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (18446744073709551616, 4), }"),
        fake_header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        fake_header("{'descr': '<U999999999', 'fortran_order': False, 'shape': (2,), }"),
        fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (nan,), }"),
        fake_header("{'descr': __import__('os').getpid(), 'fortran_order': False, 'shape': (2,), }"),
        fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "(" * 60),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
    ids=["huge", "negative", "overflow", "objects", "strings", "nan", "code", "unclosed", "version", "empty"],
)
def test_arrays_that_lie(tmp_path: Path, lie: bytes) -> None:
    path = write_npz(tmp_path / "d.npz", x_train=lie)
    with pytest.raises(DataError, match=r"x_train.*\.$"):
        load_dataset(DataConfig(source=path))


def test_names_of_classes_that_are_no_unicode(tmp_path: Path) -> None:
    names = np.array(["a", "b"])
    names.view(np.uint32)[0] = 0x7FFFFFFF
    with pytest.raises(DataError, match="no Unicode"):
        load_dataset(DataConfig(source=write_npz(tmp_path / "d.npz", classes=array(names))))


def test_a_zip_bomb_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    head = fake_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 25000, 25000), }")
    path = tmp_path / "d.npz"
    write_npz(path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("classes.npy", "w", force_zip64=True) as file,
    ):
        file.write(head)
        for _ in range(100):
            file.write(bytes(1_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"more than the 0\.05 GiB of memory allowed"):
        load_dataset(DataConfig(source=str(path), memory_gib=0.05))


def test_a_zip_that_says_less_than_it_holds(tmp_path: Path) -> None:
    """The directory's sizes are what is allocated by; a stream that is longer is cut there, and its sum is wrong."""
    path = tmp_path / "d.npz"
    write_npz(path, x_train=array(np.zeros((2, 400, 400), np.uint8)))
    data = path.read_bytes()
    true = struct.pack("<I", len(array(np.zeros((2, 400, 400), np.uint8))))
    assert true in data
    path.write_bytes(data.replace(true, struct.pack("<I", 160)))
    with pytest.raises(DataError):
        load_dataset(DataConfig(source=str(path)))


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (50_000, 4_000), (0, 5)])
def test_images_that_are_bombs(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(width, height))
    with quiet_pillow(), pytest.raises(DataError, match=r"bomb.png: "):
        read_image(path, 8, 8, 3)


def test_text_that_unpacks_into_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    """A PNG's compressed text is limited by Pillow; the file is refused or read, in little memory."""
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("a", "x" * 3_000_000, zip=True)
    path = tmp_path / "text.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    assert path.stat().st_size < 10_000
    with quiet_pillow(), pytest.raises(DataError, match=r"text\.png"):
        read_image(path, 8, 8, 3)


# --- models


def onnx_of(domain: str = "", kind: str = "Relu", *, cyclic: bool = False, outside: str = "") -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
    weights = numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    if outside:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", outside
    nodes = [helper.make_node(kind, ["logits" if cyclic else "image"], ["a"], domain=domain),
             helper.make_node("Add", ["a", "w"], ["logits"])]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [image], [logits], [weights])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


@pytest.mark.parametrize(
    "data",
    [
        onnx_of("evil.domain", "Run"),
        onnx_of("", "NoSuchOperator"),
        onnx_of(cyclic=True),
        onnx_of(outside="../../../../etc/passwd"),
        onnx_of(outside="/etc/passwd"),
        b"\x08\x0a",
        onnx_of()[:-7],
    ],
    ids=["custom operator", "unknown operator", "cycle", "climbing out", "absolute", "stump", "cut"],
)
def test_onnx_files_that_lie(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"cannot load this ONNX file.*\.$"):
        open_session(data, "onnx")


def test_weights_outside_an_onnx_file_are_not_described() -> None:
    with pytest.raises(ExportError, match="lie outside the file"):
        describe(onnx_of(outside="../../x"), "segment 1")
    with pytest.raises(ExportError, match="no ONNX file, or a damaged one"):
        describe(onnx.TensorProto().SerializeToString() + b"\xff\xff", "segment 1")


@pytest.fixture(scope="module")
def tflite(tiny_bundle: Path) -> bytes:
    return next(iter(sorted(tiny_bundle.rglob("segment-2*.tflite")))).read_bytes()


def test_a_custom_operator_in_a_tflite_file_is_refused(tflite: bytes) -> None:
    from msd_edge.converters.tflite import flatbuffer

    model = flatbuffer.read(tflite)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = 32  # CUSTOM
    code.customCode = "RunAnything"
    with pytest.raises(BundleError, match="cannot load this TFLite file"):
        open_session(flatbuffer.write(model), "tflite")
    assert census(flatbuffer.write(model)).get("RunAnything") == 1


@pytest.mark.parametrize("change", ["cut", "offset", "magic", "empty", "ones"])
def test_tflite_files_that_lie(tflite: bytes, change: str) -> None:
    data = {
        "cut": tflite[: len(tflite) // 2],
        "offset": struct.pack("<I", 2**31) + tflite[4:],
        "magic": tflite[:4] + b"XXXX" + tflite[8:],
        "empty": b"",
        "ones": tflite[:8] + b"\xff" * (len(tflite) - 8),
    }[change]
    with pytest.raises(BundleError):
        open_session(data, "tflite")
    with pytest.raises(ExportError, match="TFLite file"):
        census(data)


# --- the terminal, and devices


def test_names_in_files_do_not_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps({"\x1b]0;owned\x07\x9b31m" + "x" * 9000: 1}))
    assert run(["eval", "--config", "c.json"]) == 2
    errors = capfd.readouterr().err
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in errors.rstrip("\n"))
    assert len(errors) < 4000


@pytest.mark.parametrize(
    "line", ["INSTRUMENTATION_CODE: ²", "INSTRUMENTATION_CODE: --1", f"INSTRUMENTATION_CODE: {'9' * 5000}"]
)
def test_a_code_that_is_no_number_ends_nothing(line: str) -> None:
    progress = Progress()
    progress.feed(line)
    assert progress.code is None
