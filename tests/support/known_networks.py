"""The networks that the tests run, and the list of them in ``docs/networks.md``.

Run as a script (from ``tests/``: ``python -m support.known_networks``), this file writes the list anew.
"""

from pathlib import Path

from msd_edge.bundle.manifest import Target
from msd_edge.models.families import FAMILIES, Family

DOCUMENT = Path(__file__).parents[2] / "docs" / "networks.md"
BEGIN, END = "<!-- list of networks: written by tests/support/known_networks.py -->\n", "<!-- end of the list -->\n"
# One of each family, and of each kind of block: both converters, float32 and int8.
CONVERTED = (
    "resnet8",
    "seresnet8",
    "resnext11-2x64d",
    "preresnet8",
    "wrn-10-2",
    "vgg11",
    "densenet-bc-10-12",
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3-small",
    "efficientnet-b0",
    "efficientnet-lite0",
    "shufflenetv2-0.5",
    "regnetx-200mf",
    "regnety-200mf",
    "airbench",
)
# {(family, target): what casts or turns its int8 files may hold}. A QUANTIZE is from int8 to int8 in each case: it
# brings the parts of a concatenation to one scale.
ALLOWED: dict[tuple[str, Target], set[str]] = {
    ("DenseNet-BC", "tflite"): {"QUANTIZE"},
    ("ShuffleNetV2", "tflite"): {"QUANTIZE"},
}
_NAMES = {"tflite": "TFLite", "onnx": "ONNX"}
# {family: operators of int8 TFLite files that XNNPACK does not take}.
LEFT: dict[str, set[str]] = {}
# Networks from libraries that get three exits of their own and are cut; their segments compute what the whole computes.
FROM_TORCHVISION = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "mnasnet0_5",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "densenet121",
    "googlenet",
)
FROM_TIMM = (
    "resnet10t",
    "resnet18",
    "seresnet18",
    "skresnet18",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "efficientnet_lite0",
    "mnasnet_small",
    "fbnetc_100",
    "hardcorenas_a",
    "lcnet_050",
    "regnetx_002",
    "regnety_002",
    "repvgg_a0",
    "ghostnet_100",
    "tinynet_e",
)


def family_of(arch: str) -> Family:
    """Return the family a name belongs to."""
    return next(family for family in FAMILIES if family.has_arch(arch))


def draw_list() -> str:
    """Return the list as Markdown."""
    lines = ["| family | names | converted in the tests, float32 and int8 | remarks |", "|---|---|---|---|"]
    for family in FAMILIES:
        names = ", ".join(f"`{name}`" for name in family.archs) + (f"; {family.more}" if family.more else "")
        tested = ", ".join(f"`{name}`" for name in CONVERTED if family.has_arch(name))
        remarks = [
            f"int8 {_NAMES[target]} holds {', '.join(sorted(found))}"
            for (title, target), found in ALLOWED.items()
            if title == family.title
        ]
        remarks += [f"XNNPACK leaves {', '.join(sorted(LEFT[family.title]))}"] if family.title in LEFT else []
        lines.append(f"| {family.title} | {names} | {tested} | {'; '.join(remarks)} |")
    lines.append("| MSDNet | `msdnet` | three scales, several feature maps at each seam | |")
    for library, found in (("torchvision", FROM_TORCHVISION), ("timm", FROM_TIMM)):
        lines += ["", f"From {library}: " + ", ".join(f"`{library}:{name}`" for name in found) + "."]
    return "\n".join(lines) + "\n"


def replace_list(text: str) -> str:
    """Return the document's text with the list drawn anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + draw_list() + END + after


if __name__ == "__main__":
    DOCUMENT.write_text(replace_list(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
