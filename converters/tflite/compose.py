"""New files from the converted segments, by moving operators: no second conversion, hence the same arithmetic.

    segment 1 ─ features ─ segment 2 ─ features ─ segment 3        what was converted
    segment 1 (trunk)  ════ segment 2 (trunk + branch)             exit 2 alone: joined at the seam, branch 1 dropped
    segment_1, segment_2, segment_3, exit_1, exit_2, exit_3        one file, a subgraph each, weights stored once

A stand-alone exit holds exactly the chain's operators and constants, so it gives exactly the chain's logits.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from msd_edge.errors import ParityError
from msd_edge.files import sha256_bytes

from .flatbuffer import SIGNATURE, describe, only_signature, operands, tensor_map, tensor_maps, text

_RUNTIME_VERSION = "min_runtime_version"


def join(chain: Sequence[Any], outputs: Iterable[str] = ("logits",), *, every_exit: bool = False) -> Any:
    """Return one model that runs a chain of models, each taking the features that the one before gives.

    Args:
        chain: models of segments 1..k, one signature each.
        outputs: what of the last one's outputs to give; operators that nothing needs are dropped.
        every_exit: give the logits of the exits before as well, as ``logits_1``..

    Raises:
        ParityError: a seam's two tensors differ in shape, type, scale or zero point.
    """
    assembly = _Assembly(chain)
    subgraph = _new_subgraph()
    features: list[int] = []
    inputs: list[Any] = []
    given: dict[str, int] = {}
    passed: dict[str, int] = {}
    for place, model in enumerate(chain, 1):
        signature, source = only_signature(model)
        taken, gives = tensor_maps(signature.inputs), tensor_maps(signature.outputs)
        bound: dict[int, int] = {}
        if place > 1:
            _check_seam(subgraph, features, source, list(taken.values()), place)
            bound = dict(zip(taken.values(), features, strict=True))
        last = place == len(chain)
        wanted = {name: index for name, index in gives.items() if (name in outputs if last else name != "logits")}
        early = {} if last or not every_exit else {f"logits_{place}": gives["logits"]}
        prefix = f"segment-{place}/" if len(chain) > 1 else ""
        where = assembly.append(
            subgraph, model, source, [*taken.values(), *wanted.values(), *early.values()], bound, prefix
        )
        if place == 1:
            inputs = [tensor_map(name, where[index]) for name, index in taken.items()]
        passed |= {name: where[index] for name, index in early.items()}
        given = {name: where[index] for name, index in wanted.items()}
        features = list(given.values())
    given = passed | given
    assembly.add(subgraph, SIGNATURE, inputs, [tensor_map(name, index) for name, index in given.items()])
    return assembly.finish()


def merge(models: dict[str, Any]) -> Any:
    """Return one model with a signature and a subgraph for each of ``models``; equal constants are stored once."""
    assembly = _Assembly(list(models.values()))
    for name, model in models.items():
        signature, source = only_signature(model)
        taken, gives = tensor_maps(signature.inputs), tensor_maps(signature.outputs)
        subgraph = _new_subgraph(name)
        where = assembly.append(subgraph, model, source, [*taken.values(), *gives.values()], {}, "")
        assembly.add(
            subgraph,
            name,
            [tensor_map(key, where[index]) for key, index in taken.items()],
            [tensor_map(key, where[index]) for key, index in gives.items()],
        )
    return assembly.finish()


class _Assembly:
    """A model under construction: operator codes and constants are entered once, buffer 0 stays empty."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self._sources = sources
        self._buffers: dict[str, int] = {}
        self._codes: dict[tuple[int, int, int, str], int] = {}
        self._model = schema.ModelT()
        self._model.version = sources[0].version
        self._model.description = sources[0].description
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._model.subgraphs = []
        self._model.signatureDefs = []

    def append(
        self, subgraph: Any, model: Any, source: Any, wanted: Sequence[int], bound: dict[int, int], prefix: str
    ) -> dict[int, int]:
        """Copy into ``subgraph`` what computes the tensors ``wanted``.

        Args:
            subgraph: receives operators and tensors.
            model: where ``source`` belongs.
            source: the subgraph to copy from.
            wanted: tensors of ``source`` that must be there afterwards.
            bound: tensors of ``source`` that are there already, and where.
            prefix: of the copied tensors' names.

        Returns:
            {tensor index in ``source``: tensor index in ``subgraph``} of all that is used.
        """
        live = _live_operators(source, wanted)
        used = set(wanted)
        for operator in live:
            used.update(_touched(operator))
        where = dict(bound)
        for index in sorted(used - bound.keys()):
            tensor = copy.copy(source.tensors[index])
            tensor.buffer = self._buffer(model.buffers[tensor.buffer])
            tensor.name = prefix + text(tensor.name)
            where[index] = len(subgraph.tensors)
            subgraph.tensors.append(tensor)
        for operator in live:
            moved = copy.copy(operator)
            moved.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
            for side in ("inputs", "outputs", "intermediates"):
                indices = getattr(operator, side)
                if indices is not None:
                    setattr(moved, side, [-1 if index == -1 else where[int(index)] for index in indices])
            subgraph.operators.append(moved)
        return where

    def add(self, subgraph: Any, name: str, inputs: list[Any], outputs: list[Any]) -> None:
        """Enter a finished subgraph under the signature ``name``."""
        subgraph.inputs = [entry.tensorIndex for entry in inputs]
        subgraph.outputs = [entry.tensorIndex for entry in outputs]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.inputs, signature.outputs = name, inputs, outputs
        signature.subgraphIndex = len(self._model.subgraphs)
        self._model.subgraphs.append(subgraph)
        self._model.signatureDefs.append(signature)

    def finish(self) -> Any:
        """Return the model, with the sources' metadata: the highest runtime version that any of them needs."""
        found: dict[str, bytes] = {}
        for source in self._sources:
            for entry in source.metadata or []:
                name, data = text(entry.name), bytes(source.buffers[entry.buffer].data)
                if name not in found or (name == _RUNTIME_VERSION and _version(data) > _version(found[name])):
                    found[name] = data
        self._model.metadata = []
        for name, data in found.items():
            entry = schema.MetadataT()
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            entry.name, entry.buffer = name, self._buffer(buffer)
            self._model.metadata.append(entry)
        return self._model

    def _buffer(self, buffer: Any) -> int:
        if buffer.data is None or len(buffer.data) == 0:
            return 0
        # Models made here share their buffer objects, so that every constant is hashed once.
        if not hasattr(buffer, "digest"):
            buffer.digest = sha256_bytes(buffer.data)
        if buffer.digest not in self._buffers:
            self._buffers[buffer.digest] = len(self._model.buffers)
            self._model.buffers.append(buffer)
        return self._buffers[buffer.digest]

    def _code(self, code: Any) -> int:
        key = (code.deprecatedBuiltinCode, code.builtinCode, code.version, text(code.customCode))
        if key not in self._codes:
            self._codes[key] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(copy.copy(code))
        return self._codes[key]


def _new_subgraph(name: str = "main") -> Any:
    subgraph = schema.SubGraphT()
    subgraph.name, subgraph.tensors, subgraph.operators = name, [], []
    return subgraph


def _touched(operator: Any) -> list[int]:
    return [*operands(operator.inputs), *operands(operator.outputs), *operands(operator.intermediates)]


def _live_operators(subgraph: Any, wanted: Iterable[int]) -> list[Any]:
    """Return the operators that the tensors ``wanted`` depend on, in the file's order, which is one of execution."""
    needed = set(wanted)
    live = []
    for operator in reversed(subgraph.operators):
        if needed.intersection(operands(operator.outputs)):
            needed.update(operands(operator.inputs))
            live.append(operator)
    return live[::-1]


def _check_seam(given: Any, features: list[int], taken: Any, inputs: list[int], place: int) -> None:
    seam = f"seam {place - 1}→{place}"
    if len(features) != len(inputs):
        raise ParityError(f"{seam}: {len(features)} tensors are given and {len(inputs)} taken.")
    for a, b in zip(features, inputs, strict=True):
        left, right = describe(given, a, "features"), describe(taken, b, "features")
        for field in ("shape", "dtype", "scale", "zero_point"):
            if getattr(left, field) != getattr(right, field):
                raise ParityError(f"{seam}: {field} {getattr(left, field)} is given and {getattr(right, field)} taken.")


def _version(data: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in data.rstrip(b"\0").decode().split(".") if part.isdigit())
