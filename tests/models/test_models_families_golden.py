"""Fixed weights and pixels to the logits of every exit, kept in ``golden/families.json``.

The weights are a hash of their names and places, so that no version of a random generator matters; a name that changes
in a family changes its values here, as it would make the checkpoints of users unreadable. Run as a script, this file
writes the golden file anew.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.models.families import FAMILIES
from msd_edge.models.network import MultiExitNetwork

GOLDEN = Path(__file__).parent / "golden" / "families.json"
# Of an exit's largest logit: float32 sums in another order, on any processor, stay below.
TOLERANCE = 1e-4
# {case: (name, width, height, width of the image, exits_at)}
CASES = {
    "resnet14": ("resnet14", 8, 32, 32, "stem,2:1"),
    "resnet10 large": ("resnet10", 8, 131, 140, "1:1,2:1"),
    "resnet50": ("resnet50", 8, 28, 36, "1:2,3:4"),
    "seresnet14": ("seresnet14", 16, 32, 32, "1:2,2:1"),
    "seresnet50": ("seresnet50", 8, 28, 28, "2:4"),
    "resnext29": ("resnext29-2x64d", 8, 32, 32, "1:3,2:2"),
    "preresnet14": ("preresnet14", 8, 30, 33, "stem,2:2"),
    "preresnet18": ("preresnet18", 8, 32, 32, "2:1"),
    "wrn": ("wrn-16-4", 20, 32, 32, "1:1,2:2"),
    "vgg11": ("vgg11", 8, 32, 32, "1:1,3:2"),
    "densenet-bc": ("densenet-bc-22-12", 16, 28, 28, "stem,2:2"),
    "densenet121 large": ("densenet121", 8, 135, 130, "1:6,3:8"),
    "mobilenetv1": ("mobilenetv1", 16, 32, 32, "2:1,4:2"),
    "mobilenetv2": ("mobilenetv2", 8, 32, 32, "2:2,4:1"),
    "mobilenetv2 large": ("mobilenetv2", 4, 129, 132, "3:3,6:1"),
    "mobilenetv3-small": ("mobilenetv3-small", 8, 32, 32, "2:1,4:2"),
    "mobilenetv3-large": ("mobilenetv3-large", 8, 28, 28, "2:2,4:1"),
    "efficientnet-b0": ("efficientnet-b0", 8, 32, 32, "2:2,5:1"),
    "efficientnet-b1": ("efficientnet-b1", 4, 66, 70, "3:3"),
    "efficientnet-lite0": ("efficientnet-lite0", 8, 32, 32, "3:2,6:1"),
    "shufflenetv2": ("shufflenetv2-1.0", 12, 32, 32, "1:2,2:8"),
    "shufflenetv2 large": ("shufflenetv2-0.5", 8, 132, 129, "1:4,2:2"),
    "regnetx": ("regnetx-200mf", 8, 32, 32, "1:1,3:2"),
    "regnety": ("regnety-400mf", 8, 32, 32, "2:1,3:3"),
    "airbench": ("airbench", 8, 32, 32, "1:1,2:2"),
}


def spread(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers between -1 and 1 that look random and depend on the name and the place only."""
    phase = zlib.crc32(name.encode()) % 10_007
    values = np.sin((np.arange(int(np.prod(shape)), dtype=np.float64) + phase) * 12.9898) * 43758.5453
    return torch.from_numpy(((values - np.floor(values)) * 2 - 1).astype(np.float32)).reshape(shape)


def fill(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():  # batches seen so far
            continue
        values = spread(name, tuple(tensor.shape))
        if tensor.ndim > 1:
            values *= (3 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            values = 1 + values / 2
        elif name.endswith("weight"):
            values = 1.5 + values / 2
        else:
            values /= 5
        tensor.copy_(values)


def build(case: str) -> MultiExitNetwork:
    arch, width, height, breadth, exits_at = CASES[case]
    network = build_network(
        NetworkConfig(
            arch=arch,
            width=width,
            exits_at=exits_at,
            classes=4,
            image_shape=(3, height, breadth),
            mean=(121.0,),
            std=(64.0,),
        )
    )
    with torch.no_grad():
        fill(network)
    return network.eval()


def compute(case: str) -> np.ndarray:
    """Logits (exits, images, classes); in double precision, since in single they differ between processors."""
    network = build(case).double()
    images = torch.floor((spread("pixels", (2, *network.image_shape)) + 1) * 127.99)
    with torch.no_grad():
        return torch.stack(network(images.double())).numpy()


def test_every_family_has_golden_logits() -> None:
    for family in FAMILIES:
        assert any(family.has_arch(arch) for arch, *_ in CASES.values()), family.title
    assert json.loads(GOLDEN.read_text()).keys() == CASES.keys()
    assert GOLDEN.stat().st_size < 100_000


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_old(case: str) -> None:
    expected = np.asarray(json.loads(GOLDEN.read_text())[case], np.float32)
    found = compute(case)
    assert found.shape == expected.shape
    largest = np.abs(expected).max((1, 2))
    assert (np.abs(found - expected).max((1, 2)) <= TOLERANCE * largest).all()
    # No exit says the same of both images: a network that is dead inside has no say.
    assert (np.abs(expected[:, 0] - expected[:, 1]).max(-1) > 100 * TOLERANCE * largest).all()


def write() -> None:
    """Write the golden file anew."""
    lines = []
    for case in CASES:
        rounded = [[[float(f"{x:.7g}") for x in row] for row in exit_] for exit_ in compute(case)]
        lines.append(f"{json.dumps(case)}: {json.dumps(rounded)}")
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write()
