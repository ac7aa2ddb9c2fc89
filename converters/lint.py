"""What the int8 kernels will not take, said before training.

The network runs once on a black image while every torch function that it calls is noted, with the module that called
it. What converters respell by themselves (``rewrites``) is not listed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from msd_edge.models.network import MultiExitNetwork

_MOST_CONCATENATED = 5

# By the name of torch's function; measured with LiteRT's XNNPACK kernels (docs/rewrites.md).
_UNTAKEN = {
    "gelu": "GELU is computed in pieces; ReLU, SiLU and hard-swish are taken",
    "prelu": "PReLU leaves int8 for float and comes back; ReLU stays",
    "elu": "ELU leaves int8 for float and comes back; ReLU, SiLU and hard-swish are taken",
    "mish": "Mish is computed in pieces; SiLU and hard-swish are taken",
    "softmax": "softmax is not taken, and to int8 it can never exceed 255/256; exits give logits",
    "layer_norm": "LayerNorm is computed from each image, in many operators; BatchNorm folds into a convolution",
    "group_norm": "GroupNorm is computed from each image, in many operators; BatchNorm folds into a convolution",
    "instance_norm": "InstanceNorm is computed from each image, in many operators; BatchNorm folds into a convolution",
    "local_response_norm": "local response normalization is computed in many operators; BatchNorm folds",
    "interpolate": "resizing feature maps is not taken with nearest neighbours; bilinear is",
    "scaled_dot_product_attention": "attention is computed in many operators, softmax among them",
}


@dataclass(frozen=True)
class Untaken:
    """A function that the int8 kernels do not take.

    Attributes:
        module: name of the first module that calls it.
        count: how many modules do.
        why: a clause.
    """

    module: str
    count: int
    why: str


def find_untaken(network: MultiExitNetwork) -> tuple[Untaken, ...]:
    """Return what of a network the int8 kernels will not take, each kind once."""
    with _Recorder(network) as recorder, torch.no_grad():
        device = next(network.parameters()).device
        network(torch.zeros(1, *network.image_shape, device=device))
    return tuple(Untaken(modules[0], len(modules), why) for why, modules in recorder.found.items())


class _Recorder(TorchFunctionMode):
    """Notes the functions a network calls, in evaluation mode, and the innermost module that is running."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._network = network
        self._training = network.training
        self._running: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> "_Recorder":
        self._network.eval()
        for name, module in self._network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._enter(name)))
            self._hooks.append(module.register_forward_hook(lambda *_: self._running.pop() and None))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self._network.train(self._training)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        why = _objection(getattr(func, "__name__", ""), args, kwargs or {})
        if why is not None:
            where = self._running[-1] if self._running and self._running[-1] else "its forward"
            modules = self.found.setdefault(why, [])
            if where not in modules:
                modules.append(where)
        return func(*args, **(kwargs or {}))

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self._running.append(name)


def _objection(function: str, args: Any, kwargs: Mapping[str, Any]) -> str | None:
    if function in ("cat", "concat", "concatenate"):
        tensors = args[0] if args else kwargs["tensors"]
        if len(tensors) > _MOST_CONCATENATED:
            return f"a concatenation of more than {_MOST_CONCATENATED} is not taken"
        return None
    if function == "interpolate" and "bilinear" in (*args, kwargs.get("mode")):
        return None
    return _UNTAKEN.get(function)
