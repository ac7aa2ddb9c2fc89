"""Raw pixels into an int8 file, without an operator for it.

With one mean m (an integer) and one standard deviation for all channels the network's first operators compute
``(x - m) * b``. An int8 input of scale b and zero point m - 128 stands for exactly that value when it holds the pixel
minus 128: so the operators go, and the input's quantization does their work. Zero padding behind them stays right,
since the zero point is what m becomes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ai_edge_litert.schema_py_generated import ActivationFunctionType

from .compose import join
from .flatbuffer import only_signature, operands, operator_type, tensor_maps, values

_INTEGER_TOLERANCE = 1e-3  # in pixels: float32 rounding of m * (1 / s) / (1 / s), far below a step of the input


@dataclass(frozen=True)
class PixelInput:
    """What an image input's int8 values stand for: ``scale * (q - zero_point)``, q being the pixel minus 128."""

    scale: float = 1.0
    zero_point: int = -128

    @property
    def range(self) -> tuple[float, float]:
        """The values that pixels 0 and 255 stand for."""
        return self.scale * (-128 - self.zero_point), self.scale * (127 - self.zero_point)


# What x -> (x - a) * b becomes when a scalar c follows it.
_AFTER: dict[str, Callable[[float, float, float], tuple[float, float]]] = {
    "SUB": lambda a, b, c: (a + c / b, b),
    "ADD": lambda a, b, c: (a - c / b, b),
    "MUL": lambda a, b, c: (a, b * c),
    "DIV": lambda a, b, c: (a, b / c),
}


def absorb_normalization(model: Any) -> tuple[Any, PixelInput]:
    """Take a scalar normalization out of segment 1 and into its input's quantization.

    Args:
        model: the float segment that takes the image; changed in place when something is absorbed.

    Returns:
        The model without the operators, and the quantization its input needs. Where the normalization is per channel
        or its mean is no integer in 0..255, the operators stay and the input is the pixel itself.
    """
    signature, subgraph = only_signature(model)
    (image,) = (int(entry.tensorIndex) for entry in signature.inputs)
    outputs = tensor_maps(signature.outputs).values()
    current, mean, factor = image, 0.0, 1.0
    absorbed: list[Any] = []
    best: tuple[int, int, PixelInput] | None = None
    while current not in outputs:
        users = [operator for operator in subgraph.operators if current in operands(operator.inputs)]
        constant = _scalar_operand(model, subgraph, users[0], current) if len(users) == 1 else None
        if constant is None:
            break
        kind = operator_type(model, users[0])
        mean, factor = _AFTER[kind](mean, factor, constant)
        absorbed.append(users[0])
        (current,) = operands(users[0].outputs)
        whole = round(mean)
        if factor > 0 and abs(mean - whole) <= _INTEGER_TOLERANCE and 0 <= whole <= 255 and current not in outputs:
            best = (len(absorbed), current, PixelInput(scale=factor, zero_point=whole - 128))
    if best is None:
        return model, PixelInput()
    steps, end, pixels = best
    gone = {id(operator) for operator in absorbed[:steps]}
    subgraph.operators = [operator for operator in subgraph.operators if id(operator) not in gone]
    for operator in subgraph.operators:
        operator.inputs = [image if index == end else index for index in operator.inputs]
    return join([model], outputs=tensor_maps(signature.outputs)), pixels


def _scalar_operand(model: Any, subgraph: Any, operator: Any, variable: int) -> float | None:
    """Return c when an operator computes ``variable`` (op) c with a scalar constant c, and nothing else."""
    kind = operator_type(model, operator)
    if kind not in _AFTER or operator.builtinOptions.fusedActivationFunction != ActivationFunctionType.NONE:
        return None
    left, right = (int(index) for index in operator.inputs)
    if kind in ("ADD", "MUL") and right == variable:
        left, right = right, left
    content = values(model, subgraph.tensors[right])
    if left != variable or content is None or content.size != 1:
        return None
    constant = float(content.reshape(()))
    return None if constant == 0 and kind in ("MUL", "DIV") else constant
