"""Any single-classifier CNN as stem + stages of blocks + head, found by tracing it once.

The module's forward is traced down to torch's own layers (torch.fx). Its blocks are the modules that its containers
hold one after the other; a block ends where nothing but its own output is needed further on. What stands before the
first block is the stem, what stands between the last block and the last linear layer is the head. A new stage begins
where a block changes the shape of the feature map, so that the sampled branch takes exactly the blocks that do.
"""

import copy
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, fx, nn

from msd_edge.errors import ModelError
from msd_edge.models.network import BackboneSpec, BlockSpec, GlobalPool
from msd_edge.models.tracer import first_line, keep_training, scope, trace

Shape = tuple[int, ...]
_FEWEST_BLOCKS = 2
_PROBES = 2
_STEM = "stem"


@dataclass(frozen=True)
class TracedBackbone:
    """A backbone that was found in a module.

    Attributes:
        spec: the backbone; its blocks are copies of the module's, weights included.
        classifier: name of the last linear layer in the module, which the exits' own classifiers replace.
        features: width of what enters it.
    """

    spec: BackboneSpec
    classifier: str
    features: int


def trace_module(module: nn.Module, image_shape: tuple[int, int, int], name: str) -> TracedBackbone:
    """Find stem, blocks, head and classifier of a single-classifier CNN.

    Args:
        module: takes images (batch, channels, H, W) and returns logits (batch, classes); it is not changed.
        image_shape: (channels, height, width).
        name: for messages.

    Raises:
        ModelError: the module cannot be cut or cannot be exported later; the message names the part that is why.
    """
    module = copy.deepcopy(module).cpu().eval()
    _refuse_statistics(module, name)
    example = torch.rand(_PROBES, *image_shape, generator=torch.Generator().manual_seed(0))
    _refuse_chance(module, example, name)
    graph = trace(module, name)
    lost = keep_training(graph, module, name)
    _refuse_repeats(graph, name)
    shapes = _propagate(graph, example, name)
    classifier = _find_classifier(graph, name)
    nodes = [node for node in graph.graph.nodes if node.op not in ("placeholder", "output", "get_attr")]
    ends = _find_ends(module, nodes, shapes, classifier)
    if len(ends) < _FEWEST_BLOCKS:
        raise ModelError(
            f"{name}: {len(ends) or 'no'} place is found where nothing but one feature map is handed on, and exits need"
            f" {_FEWEST_BLOCKS}; its blocks should stand one after the other in an nn.Sequential or as modules of their"
            " own, and sizes be asked for where they are used."
        )
    pieces = _cut(graph, [end.node for end in ends], classifier)
    _refuse_shared(pieces, name)
    found = _describe(name, pieces, ends, shapes, image_shape, classifier)
    return replace(found, spec=replace(found.spec, lost=lost))


@dataclass(frozen=True)
class _End:
    """The node that a block ends with, and the block's name."""

    node: fx.Node
    name: str


def _refuse_statistics(module: nn.Module, name: str) -> None:
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ModelError(
                f"{name}: {path} is a batch normalization without running statistics, which no file for single images "
                "can hold; build it with track_running_stats=True."
            )


def _refuse_chance(module: nn.Module, example: Tensor, name: str) -> None:
    """Refuse what is not the same twice in evaluation mode, such as a dropout that is always on."""
    runs = []
    for _ in range(2):
        outputs: dict[str, Tensor] = {}

        def keep(path: str, found: dict[str, Tensor], _m: nn.Module, _i: object, output: object) -> None:
            if isinstance(output, Tensor):
                found.setdefault(path, output.clone())

        hooks = [part.register_forward_hook(partial(keep, path, outputs)) for path, part in module.named_modules()]
        try:
            with torch.no_grad():
                module(example)
        except Exception as problem:  # noqa: BLE001  it is the user's code
            size = "x".join(str(side) for side in example.shape[1:])
            raise ModelError(f"{name}: it does not run on images {size}: {first_line(problem)}.") from None
        finally:
            for hook in hooks:
                hook.remove()
        runs.append(outputs)
    for path, first in runs[0].items():
        if not torch.equal(first, runs[1][path]):
            where = path or "its forward"
            raise ModelError(
                f"{name}: {where} gives other values when it runs again in evaluation mode (a dropout that is always "
                "on?); use nn.Dropout, which evaluation turns off."
            )


def _is_batch_size(node: fx.Node) -> bool:
    """Tell whether a node is the number of images, ``x.size(0)`` or ``x.shape[0]``, or on the way to it only."""
    if node.op == "call_method" and node.target == "size" and len(node.args) == 2:
        return bool(node.args[1] == 0)
    if node.target is operator.getitem:
        return bool(node.args[1] == 0) and isinstance(node.args[0], fx.Node) and _is_size(node.args[0])
    return _is_size(node) and all(_is_batch_size(user) for user in node.users)


def _is_size(node: fx.Node) -> bool:
    whole = node.op == "call_method" and node.target == "size" and len(node.args) == 1
    return whole or (node.target is getattr and bool(node.args[1] == "shape"))


def _refuse_repeats(graph: fx.GraphModule, name: str) -> None:
    """Refuse layers with weights that run more than once: cut apart, their copies would no longer be one."""
    seen: set[str] = set()
    for node in graph.graph.nodes:
        if node.op != "call_module":
            continue
        target = str(node.target)
        if target in seen and any(True for _ in graph.get_submodule(target).parameters()):
            scope = target.rpartition(".")[0] or target
            raise ModelError(f"{name}: {scope} runs more than once; give every use a module of its own.")
        seen.add(target)


def _refuse_shared(pieces: Sequence[nn.Module], name: str) -> None:
    """Refuse parameters that two pieces share: cut apart, their copies would no longer be one."""
    owners: dict[int, tuple[int, str]] = {}
    for place, piece in enumerate(pieces):
        for path, parameter in piece.named_parameters():
            before, first = owners.setdefault(id(parameter), (place, path))
            if before != place:
                both = path if path == first else f"{first} and {path}"
                raise ModelError(f"{name}: {both}: one parameter for several blocks; give every block its own.")


def _propagate(graph: fx.GraphModule, example: Tensor, name: str) -> dict[fx.Node, Shape]:
    """Return the shape, without the batch, of every tensor in the graph."""
    shapes: dict[fx.Node, Shape] = {}

    class Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                shapes[n] = tuple(value.shape[1:])
            return value

    try:
        with torch.no_grad():
            Shapes(graph).run(example)
    except Exception as problem:  # noqa: BLE001  it is the user's code
        raise ModelError(f"{name}: its traced form does not run: {first_line(problem)}.") from None
    return shapes


def _find_classifier(graph: fx.GraphModule, name: str) -> fx.Node:
    output: fx.Node = next(node for node in graph.graph.nodes if node.op == "output")
    node = output.args[0]
    if not isinstance(node, fx.Node):
        raise ModelError(f"{name}: it returns several values; a single-classifier network returns its logits alone.")
    while node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), (nn.Identity, nn.Dropout)):
        node = node.all_input_nodes[0]
    if node.op != "call_module" or not isinstance(graph.get_submodule(str(node.target)), nn.Linear):
        what = str(node.target) if node.op == "call_module" else getattr(node.target, "__name__", str(node.target))
        raise ModelError(f"{name}: its logits come from {what}; exits need a linear layer at the end.")
    return node


def _find_ends(
    module: nn.Module, nodes: Sequence[fx.Node], shapes: dict[fx.Node, Shape], classifier: fx.Node
) -> list[_End]:
    """Return where blocks end: one feature map is handed on there, and it is the block's."""
    places = {node: index for index, node in enumerate(nodes)}
    last_use = {node: max((places.get(user, len(nodes)) for user in node.users), default=-1) for node in nodes}
    named = []
    first = len(nodes)
    for name in _find_blocks(module):
        inside = [places[n] for n in nodes if scope(n) == name or scope(n).startswith(f"{name}.")]
        if inside:
            named.append((max(inside), name))
            first = min(first, *inside)

    def hands_on_one_map(index: int) -> bool:
        alive = [node for node in nodes[: index + 1] if last_use[node] > index and not _is_batch_size(node)]
        return alive == [nodes[index]] and len(shapes.get(nodes[index], ())) == 3

    ends = [_End(nodes[index], _STEM) for index in range(first) if hands_on_one_map(index)][-1:]
    for index, name in sorted(named):
        taken = ends and ends[-1].node is nodes[index]
        if index < places[classifier] and hands_on_one_map(index) and not taken:
            ends.append(_End(nodes[index], name))
    return ends


def _find_blocks(module: nn.Module) -> list[str]:
    """Return the names of what can be a block, in the order of the module's definition."""
    found = list(_blocks(module, ""))
    while len(found) < _FEWEST_BLOCKS and found:
        inner = [name for block in found for name in _blocks(module.get_submodule(block), f"{block}.")]
        if not inner:
            break
        found = inner
    return found


def _blocks(container: nn.Module, prefix: str) -> Iterator[str]:
    children = list(container.named_children())
    for place, (name, child) in enumerate(children):
        path = f"{prefix}{name}"
        following = children[place + 1][1] if place + 1 < len(children) else None
        if not any(True for _ in child.children()):
            # Single layers one after the other: a convolution and what follows it, up to the next, are one block.
            ends_run = following is None or _convolutions(following) > 0
            if isinstance(container, nn.Sequential) and ends_run:
                yield path
        elif _convolutions(child):
            if isinstance(child, (nn.Sequential, nn.ModuleList)) and _holds_blocks(child):
                yield from _blocks(child, f"{path}.")
            else:
                yield path


def _holds_blocks(container: nn.Module) -> bool:
    """Tell whether a container holds blocks: more than one convolution in a plain row, or modules that hold some."""
    return (type(container) is nn.Sequential and _convolutions(container) > 1) or any(
        _convolutions(part) and any(True for _ in part.children()) for part in container.children()
    )


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(part, nn.Conv2d) for part in module.modules())


def _cut(graph: fx.GraphModule, ends: Sequence[fx.Node], classifier: fx.Node) -> list[fx.GraphModule]:
    """Return the stem, the blocks and the head as modules, one tensor in and one out each."""
    outputs = [*ends, classifier.all_input_nodes[0]]
    nodes = list(graph.graph.nodes)
    pieces = []
    start = 0
    given = next(node for node in nodes if node.op == "placeholder")
    for output in outputs:
        stop = nodes.index(output) + 1
        part = fx.Graph()
        known: dict[fx.Node, fx.Node] = {given: part.placeholder("x")}
        for node in nodes[start:stop]:
            if node.op == "placeholder" or _is_batch_size(node):
                continue
            known[node] = part.node_copy(node, partial(_known, known, part))
        part.output(known[output])
        part.lint()
        pieces.append(fx.GraphModule(graph, part))
        given, start = output, stop
    return pieces


def _known(known: dict[fx.Node, fx.Node], part: fx.Graph, node: fx.Node) -> fx.Node:
    """Return a node's copy in a piece; constants and the number of images are fetched anew where they are used."""
    if node not in known and node.op == "get_attr":
        known[node] = part.node_copy(node)
    elif node not in known and _is_batch_size(node):
        known[node] = part.call_method("size", (next(iter(part.nodes)), 0))
    return known[node]


def _describe(
    name: str,
    pieces: Sequence[fx.GraphModule],
    ends: Sequence[_End],
    shapes: dict[fx.Node, Shape],
    image_shape: tuple[int, int, int],
    classifier: fx.Node,
) -> TracedBackbone:
    *bodies, head = pieces
    given: Shape = image_shape
    blocks = []
    for end, body in zip(ends, bodies, strict=True):
        shape = shapes[end.node]
        blocks.append(
            (BlockSpec(partial(copy.deepcopy, body), given[0], shape[0], max(1, given[1] // shape[1])), shape)
        )
        given = shape
    (stem, shape), *rest = blocks
    stages: list[list[BlockSpec]] = []
    names = {} if ends[0].name == _STEM else {ends[0].name: (0, 0)}
    for (block, made), end in zip(rest, ends[1:], strict=True):
        if made != shape or not stages:
            stages.append([])
        stages[-1].append(block)
        names[end.name] = (len(stages), len(stages[-1]))
        shape = made
    width = shape[0]
    features = shapes[classifier.all_input_nodes[0]][0]
    spec = BackboneSpec(
        name,
        stem,
        tuple(tuple(stage) for stage in stages),
        head=partial(_head, head, width),
        feature_width=partial(_feature_width, features, width),
        names=names,
    )
    return TracedBackbone(spec, str(classifier.target), features)


def _head(head: nn.Module, width: int, channels: int) -> nn.Module:
    return copy.deepcopy(head) if channels == width else GlobalPool()


def _feature_width(features: int, width: int, channels: int) -> int:
    return features if channels == width else channels
