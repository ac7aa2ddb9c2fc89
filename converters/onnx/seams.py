"""Maps at an int8 seam lie in NHWC, as ONNX Runtime's kernels for int8 compute them.

Handed on in NCHW, a map would be turned around on its way out of one segment and again on its way into the next; in
NHWC the runtime's optimizer takes both turns out. Float kernels want NCHW or blocks of channels, and stay with NCHW.
"""

from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from msd_edge.bundle.manifest import Layout
from msd_edge.converters.onnx.export import IMAGE
from msd_edge.converters.onnx.graph import LOGITS, make_model, rename_output, replace_input

_TO_NHWC = [0, 2, 3, 1]
_TO_NCHW = [0, 3, 1, 2]
_LAYOUTS: dict[int, Layout] = {4: "NCHW", 2: "NC"}


def turn_seams(segment: ModelProto) -> ModelProto:
    """Return a segment that takes and gives maps (1, H, W, channels) where it took and gave (1, channels, H, W).

    The image stays as it is, and so does what is no map.
    """
    copy = ModelProto()
    copy.CopyFrom(segment)
    graph = copy.graph
    nodes = list(graph.node)
    taken, given = [], []
    for value in graph.input:
        if value.name == IMAGE or len(_shape(value)) != 4:
            taken.append(value)
            continue
        inside = f"{value.name}.nchw"
        replace_input(nodes, value.name, inside)
        nodes.insert(0, _turn(value.name, inside, _TO_NCHW))
        taken.append(_turned(value))
    for value in graph.output:
        if value.name == LOGITS or len(_shape(value)) != 4:
            given.append(value)
            continue
        inside = f"{value.name}.nchw"
        maker = next(node for node in nodes if value.name in node.output)
        rename_output(maker, value.name, inside)
        replace_input(nodes, value.name, inside)
        nodes.append(_turn(inside, value.name, _TO_NHWC))
        given.append(_turned(value))
    return make_model(graph.name, nodes, taken, given, graph.initializer, graph.value_info)


def turns(model: ModelProto) -> dict[str, str]:
    """Return the inputs and outputs of a file that lie in NHWC, and what each is called inside, in NCHW."""
    graph = model.graph
    inputs = {value.name for value in graph.input}
    outputs = {value.name for value in graph.output}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Transpose":
            order = next((list(given.ints) for given in node.attribute if given.name == "perm"), [])
            if node.input[0] in inputs and order == _TO_NCHW:
                found[node.input[0]] = node.output[0]
            if node.output[0] in outputs and order == _TO_NHWC:
                found[node.output[0]] = node.input[0]
    return found


def layout_of(value: ValueInfoProto, turned: dict[str, str]) -> Layout | None:
    """Return how a tensor lies, None for one of a rank that no bundle holds."""
    return "NHWC" if value.name in turned else _LAYOUTS.get(len(_shape(value)))


def _shape(value: ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _turn(given: str, made: str, order: list[int]) -> NodeProto:
    return helper.make_node("Transpose", [given], [made], name=f"{made}.turn", perm=order)


def _turned(value: ValueInfoProto) -> ValueInfoProto:
    batch, channels, height, width = _shape(value)
    kind = value.type.tensor_type.elem_type
    return helper.make_tensor_value_info(value.name, kind, [batch, height, width, channels])
