"""Quantization-aware fine-tuning: the network computes as its int8 files will, and gradients pass the rounding as if it
were not there (Jacob et al. 2018, arXiv 1712.05877, section 3.1).

Which tensors the files hold in int8 is told from the calls, so it goes for any network: weights of convolutions and
linear layers with one scale per output channel, and every activation between operators that the converters do not
merge. A BatchNorm behind a layer merges into it, a ReLU into what is before it; neither leaves a tensor of its own.
"""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from msd_edge.training.distributed import ALONE, World

_LAYERS = frozenset({"conv1d", "conv2d", "conv_transpose2d", "linear"})
_CLIPS = frozenset({"relu", "relu6", "hardtanh", "clamp", "clip", "clamp_min"})
# They move values, or choose among them: what comes out is on the grid of what went in.
_MOVES = frozenset(
    {
        *("max_pool2d", "flatten", "view", "reshape", "permute", "transpose", "contiguous", "clone", "squeeze"),
        *("unsqueeze", "chunk", "split", "__getitem__", "pad", "dropout", "to", "float", "expand", "unbind"),
        *("__get__", "size", "dim", "numel"),
    }
)


class Int8Arithmetic(TorchFunctionMode):
    """While it is entered, networks compute on int8 grids; they must be in evaluation mode, BatchNorm as trained.

    An activation's range is that of its batch with zero in it, a weight's that of its output channel, symmetric: as the
    converters choose them, but for the number of images. There is no state, so a resumed training is the same training.
    What no layer has computed yet (the pixels and their normalization) stays as it is, since files take pixels exactly.
    """

    def __init__(self, world: World = ALONE) -> None:
        """Make it; ``world``: processes that compute parts of one batch, in step, and share its ranges."""
        super().__init__()
        self._world = world
        # What made an activation that is not on a grid yet.
        self._raw: MutableMapping[Tensor, str] = WeakTensorKeyDictionary()
        self._rounded: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function on what the files would give it."""
        kwargs = kwargs or {}
        name, in_place = _name(function)
        first = next((value for value in args if isinstance(value, Tensor)), None)
        if name in _LAYERS:
            image, weight, *rest = args
            result = function(self._round(image), round_weight(weight), *rest, **kwargs)
            self._raw[result] = "layer"
            return result
        maker = self._raw.get(first) if first is not None else None
        if name in _MOVES:
            result = function(*args, **kwargs)
            self._mark(result, maker)
        elif name == "batch_norm" and maker == "layer":
            result = function(*args, **kwargs)
            self._mark(result, "layer")
        elif name in _CLIPS:
            result = function(*args, **kwargs)
            self._mark(result, maker and "clip")
        else:
            result = self._compute(function, args, kwargs, first if in_place else None)
        return result

    def _compute(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], changed: Tensor | None
    ) -> Any:
        before = len(self._seen(args)) + len(self._seen(kwargs))
        args, kwargs = self._round_all(args), self._round_all(kwargs)
        if changed is not None and before:
            result = changed.copy_(function(args[0].clone(), *args[1:], **kwargs))
        else:
            result = function(*args, **kwargs)
        self._mark(result, "other" if before else None)
        return result

    def _mark(self, result: Any, maker: str | None) -> None:
        for tensor in [result] if isinstance(result, Tensor) else result if isinstance(result, (tuple, list)) else []:
            if isinstance(tensor, Tensor):
                self._rounded.pop(tensor, None)
                self._raw.pop(tensor, None)
                if maker:
                    self._raw[tensor] = maker

    def _seen(self, values: Any) -> list[Tensor]:
        if isinstance(values, Tensor):
            return [values] if values in self._raw else []
        if isinstance(values, dict):
            values = list(values.values())
        return [tensor for value in values for tensor in self._seen(value)] if isinstance(values, (tuple, list)) else []

    def _round_all(self, values: Any) -> Any:
        if isinstance(values, Tensor):
            return self._round(values)
        if isinstance(values, dict):
            return {key: self._round_all(value) for key, value in values.items()}
        return type(values)(map(self._round_all, values)) if type(values) in (tuple, list) else values

    def _round(self, tensor: Tensor) -> Tensor:
        if tensor not in self._raw:
            return tensor
        found = self._rounded.get(tensor)
        if found is None:
            found = self._rounded[tensor] = round_activation(tensor, self._world)
        return found


def round_activation(tensor: Tensor, world: World = ALONE) -> Tensor:
    """Return a tensor rounded to 256 steps over its own range with zero in it; the gradient passes unchanged.

    Args:
        tensor: this process's part.
        world: whose processes have the other parts; the range is that of all.
    """
    ends = torch.zeros(2, device=tensor.device)
    if tensor.numel():  # the last batch may be smaller than the job
        low, high = torch.aminmax(tensor.detach().float())
        ends = torch.stack([low.clamp(max=0), -high.clamp(min=0)])
    low, high = world.gather_rows(ends).amin(0).mul(torch.tensor([1.0, -1.0], device=tensor.device))
    scale = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    zero_point = (-low / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(tensor, scale, zero_point, 0, 255)


def round_weight(weight: Tensor) -> Tensor:
    """Return weights (output channels, …) rounded to 255 steps a channel, symmetric; the gradient passes unchanged."""
    scale = weight.detach().abs().flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -127, 127)


def _name(function: Any) -> tuple[str, bool]:
    """Return a function's name without the mark of its in-place twin, and whether it is that."""
    name: str = getattr(function, "__name__", "")
    if name.startswith("__"):
        plain = name.replace("__i", "__", 1)
        return name, name.startswith("__i") and hasattr(Tensor, plain)
    return name.rstrip("_"), name.endswith("_")
