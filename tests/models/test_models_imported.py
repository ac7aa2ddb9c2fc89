"""Networks from elsewhere get exits: what is found in them, what stays as it was, and what is refused by name."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from support.known_networks import FROM_TIMM, FROM_TORCHVISION
from torch import nn

import msd_edge
from msd_edge.errors import ModelError
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.models.imported import describe_imported
from msd_edge.models.traced import trace_module
from msd_edge.segments import cut

SHAPE = (3, 32, 32)


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.short = nn.Conv2d(inside, outside, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)) + self.short(x))


class Net(nn.Module):
    """As people write them: blocks as attributes, functional glue between them."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)
        self.one = Residual(8, 8)
        self.two = Residual(8, 16, 2)
        self.three = Residual(16, 24, 2)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(24, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = self.three(self.two(self.one(x)))
        return self.fc(self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1)))


def chained(network):
    """Return the logits that the segments give one after the other, and those of the whole."""
    images = torch.randint(0, 256, (3, *network.image_shape), generator=torch.Generator().manual_seed(0)).float()
    state, found = (images,), []
    with torch.no_grad():
        for segment in cut(network.eval()):
            logits, *rest = segment(*state)
            found.append(logits)
            state = tuple(rest)
        return images, found, network(images)


@pytest.mark.parametrize("branch", ["sampled", "separable", "pooled"])
def test_own_module_keeps_its_answers_and_gets_exits(branch):
    torch.manual_seed(0)
    module = Net().eval()
    network = msd_edge.add_exits(module, ["one", "two"], classes=7, image_shape=SHAPE, branch=branch)
    images, found, whole = chained(network)
    for a, b in zip(found, whole, strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert torch.equal(whole[-1], module(network.normalize(images)))
    assert network.places == ("1:1", "2:1", "3:1")


def test_the_sampled_branch_takes_the_blocks_that_change_the_shape_with_their_weights():
    torch.manual_seed(0)
    module = Net()
    network = msd_edge.add_exits(module, ["one"], classes=7, image_shape=SHAPE)
    names = {name for name, _ in network.branches[0].named_parameters()}
    assert {name.split(".")[2] for name in names if name.startswith("blocks.")} == {"two", "three"}
    copied = dict(network.branches[0].named_parameters())["blocks.1.three.conv.weight"]
    assert torch.equal(copied, module.three.conv.weight)
    assert copied.data_ptr() != module.three.conv.weight.data_ptr()


def test_another_number_of_classes_gets_a_new_head():
    network = msd_edge.add_exits(Net(7), ["0.5"], classes=4, image_shape=SHAPE)
    assert [logits.shape for logits in network(torch.zeros(2, *SHAPE))] == [(2, 4), (2, 4)]


@pytest.mark.parametrize(
    ("arch", "at"),
    [
        ("torchvision:resnet18", "layer1,layer3.0"),
        ("torchvision:mobilenet_v2", "features.3,features.10"),
        ("torchvision:vgg11_bn", "0.3"),
        ("timm:mobilenetv3_small_100", "blocks.1,blocks.3"),
        ("timm:resnet10t", "layer1,layer2"),
    ],
)
def test_libraries_networks_are_cut_by_name(arch, at):
    pytest.importorskip("timm")
    config = NetworkConfig(
        arch=arch, exits_at=at, branch="pooled", classes=5, image_shape=SHAPE, mean=(120.0,), std=(64.0,)
    )
    torch.manual_seed(0)
    _, found, whole = chained(build_network(config))
    assert len(whole) == at.count(",") + 2
    for a, b in zip(found, whole, strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch", [*(f"torchvision:{name}" for name in FROM_TORCHVISION), *(f"timm:{name}" for name in FROM_TIMM)]
)
def test_listed_networks_of_libraries_get_exits_by_themselves(arch):
    pytest.importorskip("timm")
    config = NetworkConfig(
        arch=arch, exits=3, branch="separable", classes=5, image_shape=(3, 64, 64), mean=(120.0,), std=(64.0,)
    )
    torch.manual_seed(0)
    _, found, whole = chained(build_network(config))
    assert len(whole) == 3
    for a, b in zip(found, whole, strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my net é.py"
    path.write_text(
        "from torch import nn\n"
        "def build(classes):\n"
        "    return nn.Sequential(\n"
        "        nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU()),\n"
        "        nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),\n"
        "        nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU()),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes))\n"
        "number = 3\n"
        "def broken(): raise ValueError('no such size.')\n"
        "def leaving(): raise SystemExit(3)\n"
        "def talking(classes):\n"
        "    print('hello')\n"
        "    return build(classes)\n"
    )
    return path


def config_of(arch: str, **change) -> NetworkConfig:
    base = {"arch": arch, "exits": 2, "classes": 5, "image_shape": SHAPE, "mean": (120.0,), "std": (64.0,)}
    return NetworkConfig(**(base | change))


def test_a_file_of_the_users(file):
    _, found, whole = chained(build_network(config_of(f"{file}:build", exits_at="1")))
    assert torch.equal(found[0], whole[0])
    assert whole[0].shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}:biuld", "has no 'biuld'"),
        ("{file}:number", "number is neither an nn.Module nor a function"),
        ("{file}:broken", r"calling broken failed: no such size\."),
        ("{file}:leaving", r"calling leaving failed: 3\."),
        ("{file}", "name what to take from there"),
        ("nowhere.py:build", r"there is no file nowhere\.py"),
        ("no_such_package:build", "there is no module no_such_package here"),
        ("torchvision:resnet81", r"torchvision has no such classifier; did you mean resnet101\?$"),
        ("timm:mobilenetv3_smal_100", "timm has no such network; did you mean"),
    ],
)
def test_what_cannot_be_imported_is_said_in_a_sentence(file, name, message):
    with pytest.raises(ModelError, match=message):
        build_network(config_of(name.format(file=file)))


def test_what_the_file_prints_stays_out_of_the_results(file, capsys):
    build_network(config_of(f"{file}:talking"))
    assert capsys.readouterr().out == ""


def test_a_file_that_ends_the_program_is_refused(tmp_path):
    path = tmp_path / "script.py"
    path.write_text("import sys\nsys.exit('usage: script')\n")
    with pytest.raises(ModelError, match=r"script\.py cannot be run: usage: script\.$"):
        build_network(config_of(f"{path}:build"))


class Branching(Net):
    def forward(self, x):
        x = self.one(F.relu(self.conv(x)))
        if x.mean() > 0:
            x = self.two(x)
        return self.fc(F.adaptive_avg_pool2d(self.three(x), 1).flatten(1))


class Doubting(Residual):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, training=True)


class Alone(Net):
    def __init__(self):
        super().__init__()
        self.two.norm = nn.BatchNorm2d(16, track_running_stats=False)


class Twice(Net):
    def forward(self, x):
        x = self.one(self.one(F.relu(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(self.three(self.two(x)), 1).flatten(1))


class Scaled(Net):
    """One parameter in two blocks."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.two(self.one(F.relu(self.conv(x))) * self.scale)
        return self.fc(F.adaptive_avg_pool2d(self.three(x * self.scale), 1).flatten(1))


class Double(Net):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits


def tied():
    net = Net()
    net.one = nn.Sequential(Residual(8, 8), Residual(8, 8))
    net.one[1].conv.weight = net.one[0].conv.weight
    return net


def doubtful():
    net = Net()
    net.two = Doubting(8, 16, 2)
    return net


class Viewing(Net):
    """The number of images is taken early and used at the end."""

    def forward(self, x):
        count = x.size(0)
        x = self.three(self.two(self.one(F.relu(self.conv(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).view(count, -1))


class Shaped(Net):
    def forward(self, x):
        shape = x.shape
        x = self.three(self.two(self.one(F.relu(self.conv(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).reshape(shape[0], 24))


@pytest.mark.parametrize("make", [Viewing, Shaped])
def test_the_number_of_images_may_be_taken_early(make):
    torch.manual_seed(0)
    module = make().eval()
    network = msd_edge.add_exits(module, ["one"], classes=7, image_shape=SHAPE, branch="pooled")
    images, found, whole = chained(network)
    assert torch.equal(found[1], whole[1])
    assert torch.equal(whole[1], module(network.normalize(images)))


class Dropping(Net):
    def forward(self, x):
        x = self.three(self.two(self.one(F.relu(self.conv(x)))))
        x = F.dropout(x, p=0.9, training=self.training)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_a_functional_dropout_still_drops_in_training():
    torch.manual_seed(0)
    network = msd_edge.add_exits(Dropping(), ["one"], classes=7, image_shape=SHAPE, branch="pooled")
    images, _, whole = chained(network)
    assert torch.equal(whole[1], network(images)[1])
    network.train()
    dropped = [part for part in network.modules() if isinstance(part, nn.Dropout)]
    assert [part.p for part in dropped] == [0.9]
    assert not torch.equal(network(images)[1], network(images)[1])


class Optional(Net):
    """Further arguments choose what is computed; by default they choose nothing."""

    def forward(self, x, mask=None, *more, scale=1.0, features=False, **options):
        x = F.relu(self.conv(x))
        if mask is not None:
            x = x * mask
        x = self.three(self.two(self.one(x)))
        if features:
            return x
        if more or options:
            raise ValueError("too much")
        return self.fc(F.adaptive_avg_pool2d(x * scale if scale != 1 else x, 1).flatten(1))


def test_further_arguments_of_a_forward_keep_their_defaults():
    torch.manual_seed(0)
    module = Optional().eval()
    network = msd_edge.add_exits(module, ["one"], classes=7, image_shape=SHAPE)
    images, found, whole = chained(network)
    assert torch.equal(found[1], whole[1])
    assert torch.equal(whole[1], module(network.normalize(images)))
    assert type(module) is Optional


class Deep(Net):
    """Stochastic depth as a module, and dropout of channels as a function."""

    def __init__(self):
        super().__init__()
        self.depth = torchvision.ops.StochasticDepth(0.5, "row")

    def forward(self, x):
        x = self.one(F.relu(self.conv(x)))
        x = self.two(x + self.depth(x))
        return self.fc(F.adaptive_avg_pool2d(F.dropout2d(self.three(x), 0.4, self.training), 1).flatten(1))


def test_stochastic_depth_and_functional_dropouts_are_kept_for_training():
    torch.manual_seed(0)
    network = msd_edge.add_exits(Deep(), ["two"], classes=7, image_shape=SHAPE, branch="pooled")
    images, _, whole = chained(network)
    assert all(torch.equal(a, b) for a, b in zip(whole, network(images), strict=True))
    network.train()
    assert [part.p for part in network.modules() if isinstance(part, torchvision.ops.StochasticDepth)] == [0.5]
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout2d)] == [0.4]
    assert not torch.equal(network(images)[1], network(images)[1])


def test_a_librarys_stochastic_depth_is_kept():
    config = config_of("torchvision:efficientnet_b0")
    kept = [part.p for part in build_network(config).modules() if isinstance(part, torchvision.ops.StochasticDepth)]
    assert max(kept) > 0.1


class Choosing(Net):
    """Drops more in training than its evaluation mode would if it dropped."""

    def forward(self, x):
        x = self.three(self.two(self.one(F.relu(self.conv(x)))))
        x = F.dropout(x, 0.75 if self.training else 0.25, self.training)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_a_dropout_is_kept_with_what_training_gives_it():
    network = msd_edge.add_exits(Choosing(), ["one"], classes=7, image_shape=SHAPE, branch="pooled")
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout)] == [0.75]


@torch.fx.wrap
def attend(x, scale, *, attention_dropout=0.0, training=True):
    """As torchvision's attention: one call to the tracer."""
    return F.dropout(x * scale, attention_dropout, training)


class Attending(Residual):
    """Makes a constant, which the tracer numbers, and drops with probability 0."""

    share = 0.0
    louder = 1.0

    def forward(self, x):
        scale = torch.tensor([self.louder if self.training else 1.0])
        return attend(super().forward(x), scale, attention_dropout=self.share, training=self.training)


class AttendingLess(Attending):
    share = 0.1


class AttendingLouder(Attending):
    louder = 2.0


def test_a_training_flag_for_what_has_the_probability_0_is_no_difference():
    assert trace_module(holding(Attending), SHAPE, "Net").spec.lost == ""


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "side"), [("torchvision:swin_t", 64), ("torchvision:maxvit_t", 224)])
def test_nothing_is_lost_of_attention_that_drops_nothing(arch, side):
    assert describe_imported(arch, 5, (3, side, side)).spec.lost == ""


class Skipping(Residual):
    def forward(self, x):
        return F.relu(torchvision.ops.stochastic_depth(self.norm(self.conv(x)), 0.2, "row", self.training))


class Louder(Residual):
    def forward(self, x):
        return super().forward(x) * (2 if self.training else 1)


class Normalizing(Residual):
    def forward(self, x):
        x = self.conv(x)
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=self.training)


def holding(block):
    net = Net()
    net.one = block(8, 8)
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: holding(Skipping), "Net: .* does something in training mode alone, which would be lost"),
        (lambda: holding(Louder), "Net: one does something in training mode alone"),
        (lambda: holding(Normalizing), "Net: one does something in training mode alone"),
        (lambda: holding(AttendingLess), "Net: one does something in training mode alone"),
        (lambda: holding(AttendingLouder), "Net: one does something in training mode alone"),
        (Branching, "Branching: its forward cannot be traced, since its forward branches on data"),
        (doubtful, "Net: two gives other values when it runs again in evaluation mode"),
        (Alone, r"Alone: two\.norm is a batch normalization without running statistics"),
        (Twice, "Twice: one runs more than once"),
        (tied, r"Net: one\.0\.conv\.weight and one\.1\.conv\.weight: one parameter for several blocks"),
        (Scaled, "Scaled: scale: one parameter for several blocks"),
        (Double, "Double: it returns several values"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(7, 2)), "does not run on images 3x32x32"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "need a linear layer"),
    ],
)
def test_modules_that_cannot_be_cut_or_exported_are_refused_by_name(make, message):
    with pytest.raises(ModelError, match=message):
        msd_edge.add_exits(make(), ["0.5"], classes=7, image_shape=SHAPE)


def test_an_unknown_place_offers_the_closest():
    with pytest.raises(ModelError, match=r"--exits-at onne: .* has no block of this name; did you mean one"):
        msd_edge.add_exits(Net(), ["onne"], classes=7, image_shape=SHAPE)
