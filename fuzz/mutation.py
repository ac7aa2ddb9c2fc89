"""Changes an input in the ways that break parsers: bytes of any kind, and the values of a JSON document."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

_NUMBERS = (0, 1, 2, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

# Written as they are: no serializer of ours would write them.
_RAW = {
    "<<nan>>": "NaN",
    "<<inf>>": "Infinity",
    "<<big>>": "1e999",
    "<<digits>>": "9" * 5000,
    "<<deep>>": "[" * 3000 + "]" * 3000,
    "<<deeper>>": '{"a":' * 3000 + "1" + "}" * 3000,
}
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**64, 10**30, 0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324,
    "", " ", "0", "x" * 3000, "../../etc/passwd", "/etc/passwd", "C:\\x", "a\0b", "\ud800", "\x1b[31m", "é模型", "..",
    "a/../../b", "nan", "[]", [], [[]], [None], [0] * 300, {}, {"": 0}, *_RAW,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return ``data`` changed once or a few times. ``others``: inputs to take pieces from."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        changed = _mutate_json(data, rng) if data[:1] in (b"{", b"[") and rng.random() < 0.7 else None
        data = _mutate_bytes(data, rng, others) if changed is None else changed
    return data


def _mutate_bytes(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    return rng.choice(_CHANGES)(bytearray(data), rng, others)


def _flip(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    for _ in range(rng.choice((1, 1, 3, 10))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _overwrite(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    place = rng.randrange(len(data) + 1)
    data[place : place + width] = (rng.choice(_NUMBERS) % 2 ** (8 * width)).to_bytes(
        width, rng.choice(("little", "big"))
    )
    return bytes(data)


def _cut(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    start, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return bytes(data[:start] if rng.random() < 0.5 else data[:start] + data[end:])


def _repeat(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((1, 4, 16, 100))]
    place = rng.randrange(len(data) + 1)
    return bytes(data[:place] + piece * rng.choice((1, 2, 20)) + data[place:])


def _insert(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    place = rng.randrange(len(data) + 1)
    return bytes(data[:place]) + rng.randbytes(rng.choice((1, 2, 8))) + bytes(data[place:])


def _number(data: bytearray, rng: random.Random, _others: tuple[bytes, ...]) -> bytes:
    """Put another number where digits stand."""
    digits = [place for place, sign in enumerate(data) if 48 <= sign <= 57]
    if not digits:
        return _flip(data, rng, ())
    place = rng.choice(digits)
    text = rng.choice((*map(str, _NUMBERS), "-1", "1e999", "nan", "inf", "0.0.0", "9" * 5000, "²", "٣"))
    return bytes(data[:place]) + text.encode() + bytes(data[place + 1 :])


def _splice(data: bytearray, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    other = rng.choice(others) if others else bytes(data)
    return bytes(data[: rng.randrange(len(data) + 1)]) + other[rng.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytearray, random.Random, tuple[bytes, ...]], bytes], ...] = (
    _flip, _flip, _overwrite, _overwrite, _cut, _repeat, _insert, _number, _splice,
)  # fmt: skip


def _mutate_json(data: bytes, rng: random.Random) -> bytes | None:
    """Change a value of a JSON document; None if it is none that can be read here."""
    try:
        document = json.loads(data)
        places = list(_walk(document))
    except (ValueError, RecursionError):
        return None
    if not places:
        return None
    holder, key = rng.choice(places)
    doubled = False
    action = rng.randrange(8)
    if action == 0 and isinstance(holder, dict):
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "schema_version", "__class__", key + "_"))] = rng.choice(_VALUES)
    elif action == 2 and isinstance(holder, list):
        del holder[key]
    elif action == 3 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif action == 4:
        other, place = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[place]))
    elif action == 5 and isinstance(holder, dict):
        doubled = True
    elif action == 6 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = rng.choice(
            (holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 2**20, str(holder[key]))
        )
    else:
        holder[key] = rng.choice(_VALUES)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    if doubled:
        name = json.dumps(key)
        text = text.replace(f"{name}:", f"{name}: 0, {name}:", 1)
    return text.encode(errors="surrogatepass")


def _walk(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (holder, key) of a document."""
    items: Iterator[tuple[Any, Any]] | list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield value, key
        yield from _walk(inner)
