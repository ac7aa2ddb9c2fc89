"""Which respelling is applied for which target and precision: a table. ``docs/rewrites.md`` has the measurements."""

from collections.abc import Iterable
from dataclasses import dataclass

from msd_edge.bundle.manifest import Precision, Target

from .average_pool import respell_average_pool, respell_global_pool
from .batch_norm import respell_lone_norm
from .channel_shuffle import respell_channel_shuffle
from .flat_linear import respell_flat_linear
from .hard_swish import respell_hard_swish
from .leaky_relu import respell_leaky_relu
from .max_pool import respell_max_pool
from .respell import Find

Pairs = frozenset[tuple[Target, Precision]]

_TFLITE: Pairs = frozenset({("tflite", "float32"), ("tflite", "float16"), ("tflite", "int8")})
_ONNX: Pairs = frozenset({("onnx", "float32"), ("onnx", "int8")})
_INT8_TFLITE: Pairs = frozenset({("tflite", "int8")})
_INT8_ONNX: Pairs = frozenset({("onnx", "int8")})


@dataclass(frozen=True)
class Rewrite:
    """An exact respelling.

    Attributes:
        name: what people call it.
        replaces: what it stands for, as users write it.
        find: gives the respelling of a call.
        pairs: the targets and precisions that it is applied for, because it wins there or nothing else converts.
    """

    name: str
    replaces: str
    find: Find
    pairs: Pairs


REWRITES: tuple[Rewrite, ...] = (
    Rewrite("hard-swish", "Hardswish", respell_hard_swish, _INT8_TFLITE | _INT8_ONNX),
    Rewrite("leaky ReLU", "LeakyReLU(0 < slope < 1)", respell_leaky_relu, _INT8_TFLITE),
    Rewrite("average pooling", "AvgPool2d(k > 1)", respell_average_pool, _TFLITE | _INT8_ONNX),
    Rewrite("global pooling", "AvgPool2d over the whole map", respell_global_pool, _TFLITE),
    Rewrite("padded max pooling", "MaxPool2d(padding > 0) of values >= 0", respell_max_pool, _INT8_TFLITE),
    Rewrite("lone batch norm", "BatchNorm2d that no convolution takes in", respell_lone_norm, _TFLITE | _ONNX),
    Rewrite("flattened map", "Linear behind flatten of a map larger than 1x1", respell_flat_linear, _TFLITE),
    Rewrite(
        "channel shuffle",
        "channel_shuffle, or view, transpose, view",
        respell_channel_shuffle,
        _TFLITE | _INT8_ONNX,
    ),
)


def finds(target: Target, precision: Precision, rewrites: Iterable[Rewrite] = REWRITES) -> tuple[Find, ...]:
    """Return the respellings that a target and precision want, in the table's order."""
    return tuple(rewrite.find for rewrite in rewrites if (target, precision) in rewrite.pairs)
