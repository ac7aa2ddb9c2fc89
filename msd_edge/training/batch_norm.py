"""BatchNorm over the batches of all processes: what one process would compute on the whole batch, up to rounding.

torch's own ``SyncBatchNorm`` exists for GPUs only, and replaces modules. Here calls of ``F.batch_norm`` in training
mode are answered, whatever module makes them, so networks stay as they are; in evaluation mode nothing changes.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from msd_edge.training.distributed import World


class GlobalBatchNorm(TorchFunctionMode):
    """While it is entered, BatchNorm in training mode takes its statistics over all processes of ``world``."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self.world = world

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, or what stands in for it."""
        if function is F.batch_norm:
            return self._normalize(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _normalize(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = _measure(input, self.world)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(var * (count / max(count - 1, 1)), momentum)
        out: Tensor = _Normalize.apply(input, weight, bias, mean, var, count, eps, self.world)
        return out


@torch.no_grad()
def _measure(x: Tensor, world: "World") -> tuple[Tensor, Tensor, int]:
    """Return mean and variance (channels,) over all processes, and over how many values a channel they are.

    Every process tells its count, mean and squared differences (Chan et al. 1979): one exchange, no cancellation.
    """
    channels = x.shape[1]
    count = x.numel() // channels
    own = torch.zeros(1 + 2 * channels, dtype=torch.float64, device=x.device)
    if count:
        var, mean = torch.var_mean(x.float(), _others(x), correction=0)
        own[0], own[1 : 1 + channels], own[1 + channels :] = count, mean, var * count
    rows = world.gather_rows(own)
    counts, means, squares = rows[:, :1], rows[:, 1 : 1 + channels], rows[:, 1 + channels :]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    var = (squares.sum(0) + (counts * (means - mean).square()).sum(0)) / total
    return mean.float(), var.float(), int(total)


class _Normalize(torch.autograd.Function):
    """Normalize with given statistics; the gradient is that of statistics taken over all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: int,
        eps: float,
        world: "World",
    ) -> Tensor:
        """Return (x - mean) / sqrt(var + eps) * weight + bias, (batch, channels, ...) as ``x``."""
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.count, ctx.world, ctx.has_bias = count, world, bias is not None
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Return the gradients of input, weight and bias."""
        x, weight, mean, inverse = ctx.saved_tensors
        (grad,) = grads
        grad = grad.float()
        others, shape = _others(x), _shape(x)
        centred = x.float() - mean.view(shape)
        ones = grad.sum(others)
        along = (grad * centred).sum(others)
        grad_weight = along * inverse if weight is not None else None
        grad_bias = ones.clone() if ctx.has_bias else None
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None, None, None, None, None
        sums = torch.cat([ones, along]).double()
        ctx.world.add(sums)
        ones, along = (sums / ctx.count).float().chunk(2)
        scale = inverse if weight is None else inverse * weight.float()
        # scale · (grad - mean(grad) - x̂ · mean(grad · x̂))
        grad_x = torch.addcmul(grad - ones.view(shape), centred, (along * inverse * inverse).view(shape), value=-1)
        grad_x = grad_x.mul_(scale.view(shape)).to(x.dtype)
        return grad_x, grad_weight, grad_bias, None, None, None, None, None


def _others(x: Tensor) -> list[int]:
    """Return every dimension but that of the channels."""
    return [0, *range(2, x.dim())]


def _shape(x: Tensor) -> list[int]:
    """Return the shape that a value a channel has beside ``x``."""
    return [1, -1, *([1] * (x.dim() - 2))]
