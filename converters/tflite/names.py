"""Short names for the layers of a converted segment, from the module paths that the converter leaves in tensor names.

The converter writes ``…ChannelLastIOWrapper/msd_edge.segments.Segment_wrapped/…Sequential_piece/…Conv2d_conv1;`` where
people say ``piece.conv1``. Every operator's output tensor gets the layer's name, unique in its file; constants get
``layer/2`` after their place among the operands.
"""

import re
from typing import Any

from .flatbuffer import is_constant, only_signature, operands, operator_type, text

_COMPONENT = re.compile(r"(?:[\w.]*\.)?(?P<cls>[A-Za-z0-9]+)_(?P<attribute>\w+)")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def name_layers(model: Any) -> None:
    """Rename all tensors of the only subgraph; inputs take their signature's names."""
    signature, subgraph = only_signature(model)
    taken: set[str] = set()
    renamed: dict[int, str] = {}
    for entry in signature.inputs:
        renamed[int(entry.tensorIndex)] = _unique(text(entry.name), "input", taken)
    given = {int(entry.tensorIndex): text(entry.name) for entry in signature.outputs}
    # Layers with weights choose first: "branch.conv1" shall be the convolution, not the padding before it.
    order = sorted(subgraph.operators, key=lambda operator: operator_type(model, operator) not in _WEIGHTED)
    for operator in order:
        kind = operator_type(model, operator).lower()
        for index in operands(operator.outputs):
            path = _layer(model, subgraph, operator, index) or f"to-{given.get(index, 'next')}"
            renamed[index] = _unique(path, kind, taken)
    for operator in subgraph.operators:
        layer = renamed[operands(operator.outputs)[0]]
        for place, index in enumerate(operator.inputs):
            if index != -1 and int(index) not in renamed:
                renamed[int(index)] = _unique(f"{layer}/{place}", "constant", taken)
    for index, tensor in enumerate(subgraph.tensors):
        tensor.name = renamed.get(index) or _unique(f"unused-{index}", "tensor", taken)


def _layer(model: Any, subgraph: Any, operator: Any, index: int) -> str:
    """Return the module path of the layer that computes a tensor, "" when nothing tells."""
    constants = [i for i in operands(operator.inputs) if is_constant(model, subgraph.tensors[i])]
    for candidate in (index, *constants):
        paths = [_path(part) for part in text(subgraph.tensors[candidate].name).split(";")]
        known = [(path, kind) for path, kind in paths if path]
        if known:
            weighted = [path for path, kind in known if kind.startswith(("Conv", "Linear"))]
            return weighted[0] if weighted else known[0][0]
    return ""


def _path(scope: str) -> tuple[str, str]:
    """Return ("piece.conv1", "Conv2d") of one scope, ("", "") of text that is none."""
    components = scope.split("/")[2:]
    if "Respelled_" in scope:  # which holds the segment
        components = components[1:]
    found = [_COMPONENT.fullmatch(component) for component in components]
    matches = [match for match in found if match]
    if not matches or len(matches) != len(found):
        return "", ""
    return ".".join(match["attribute"] for match in matches), matches[-1]["cls"]


def _unique(name: str, kind: str, taken: set[str]) -> str:
    candidates = [name, f"{name}:{kind}"]
    number = 2
    while candidates[0] in taken:
        candidates.pop(0)
        if not candidates:
            candidates.append(f"{name}:{kind}-{number}")
            number += 1
    taken.add(candidates[0])
    return candidates[0]
