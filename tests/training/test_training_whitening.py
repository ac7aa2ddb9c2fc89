"""The first layer can begin with what patches of the training images are made of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from msd_edge.data.config import DataConfig
from msd_edge.data.dataset import MemorySet
from msd_edge.data.load import hold
from msd_edge.errors import ConfigError, DataError
from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.training import setup
from msd_edge.training.checks import check_whitening
from msd_edge.training.config import ComputeConfig, OptimConfig
from msd_edge.training.methods import LossConfig
from msd_edge.training.run import RunFolder
from msd_edge.training.setup import TrainOptions, plan_resume, plan_run, start_trainer
from msd_edge.training.whitening import first_convolutions, whiten_first


@pytest.fixture(scope="module")
def split() -> MemorySet:
    """Smooth coloured images: neighbours are alike, so a patch is far from white."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.normal(0, 60, (200, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(small, (20, 20), mode="bicubic") + torch.from_numpy(
        rng.normal(0, 4, (200, 3, 20, 20))
    )
    pixels = (smooth + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return hold(np.ascontiguousarray(pixels), np.arange(200) % 2)


def build(arch: str, width: int | None = None, side: int = 20, **more: object) -> nn.Module:
    config = {"arch": arch, "width": width, "classes": 2, "image_shape": (3, side, side), "mean": (128.0,)}
    return build_network(NetworkConfig.model_validate({**config, "std": (60.0,), **more}))


def responses(network: nn.Module, split: MemorySet) -> Tensor:
    """Return what the first convolution makes of patches inside the images, (patches, filters)."""
    (convolution,) = first_convolutions(network, (3, 20, 20))
    images = (torch.from_numpy(split.images).permute(0, 3, 1, 2).float() - 128) / 60
    out = torch.nn.functional.conv2d(images, convolution.weight)
    return out.permute(0, 2, 3, 1).reshape(-1, out.shape[1]).detach()


def test_filters_see_independent_parts_of_the_images(split: MemorySet) -> None:
    network = build("airbench", 8)  # 24 filters: 12 pairs
    before = responses(network, split)
    whiten_first(network, split, (3, 20, 20))
    after = responses(network, split)

    def between(values: Tensor) -> Tensor:
        return torch.corrcoef(values[:, ::2].T)

    assert torch.equal(after[:, ::2], -after[:, 1::2])
    # Each has variance 1, less what the least variance takes from the faint ones; none tells what another does.
    assert torch.allclose(after[:, ::2].var(0), torch.ones(12), atol=0.1)
    assert torch.allclose(between(after), torch.eye(12), atol=0.02)
    assert (between(before) - torch.eye(12)).abs().max() > 0.5


def test_filters_beyond_the_patches_values_keep_their_noise(split: MemorySet) -> None:
    network = build("resnet8", 64)
    (convolution,) = first_convolutions(network, (3, 20, 20))
    noise = convolution.weight.detach().clone()
    whiten_first(network, split, (3, 20, 20))
    assert torch.equal(convolution.weight[54:], noise[54:])
    assert not (convolution.weight[:54] == noise[:54]).all(dim=(1, 2, 3)).any()


@pytest.mark.parametrize("arch", ["resnet8", "msdnet", "mobilenetv2-0.35", "densenet-bc-10-12"])
def test_the_first_convolution_is_found(arch: str) -> None:
    network = build(arch, side=32)
    found = first_convolutions(network, (3, 32, 32))
    assert [convolution.in_channels for convolution in found] == [3]
    assert found[0] is next(module for module in network.modules() if isinstance(module, nn.Conv2d))


def test_a_network_without_one_is_refused(split: MemorySet) -> None:
    with pytest.raises(ConfigError, match="no convolution of this network sees the images themselves"):
        whiten_first(nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 8, 3)), split, (3, 20, 20))


def options(**more: object) -> TrainOptions:
    base = {
        "data": DataConfig(source="digits"),
        "arch": "resnet8",
        "width": 4,
        "loss": LossConfig(method="joint"),
        "optim": OptimConfig(epochs=1, batch_size=512, whiten=True, ema=0.9),
        "compute": ComputeConfig(device="cpu", precision="fp32"),
    }
    return TrainOptions(**(base | more))  # type: ignore[arg-type]


def test_a_run_stopped_in_its_first_epoch_begins_with_the_same_filters(tmp_path: Path) -> None:
    trainer, _, _ = start_trainer(plan_run(options(), tmp_path / "run"))
    first = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    assert trainer.average is not None
    assert all(torch.equal(first[name], value) for name, value in trainer.average.items())
    again, _, _ = start_trainer(plan_resume(RunFolder(tmp_path / "run")))
    assert all(torch.equal(first[name], value) for name, value in again.network.state_dict().items())


def test_nothing_is_written_before_the_images_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("an image has gone.")

    monkeypatch.setattr(setup, "whiten_first", fail)
    with pytest.raises(DataError, match="an image has gone"):
        start_trainer(plan_run(options(), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("side", "width", "told"),
    [
        (2, 4, "the first layer of resnet8 sees patches of 3x3 pixels, and the images have 2x2"),
        (8, 1, "filters that whiten come in pairs, and the first layer of resnet8 has one"),
    ],
)
def test_a_layer_that_cannot_be_whitened_is_refused(side: int, width: int, told: str) -> None:
    network = NetworkConfig(
        arch="resnet8", width=width, classes=2, image_shape=(1, side, side), mean=(128.0,), std=(60.0,)
    )
    built = build_network(network)
    with pytest.raises(ConfigError, match=f"--whiten: {told}"):
        check_whitening(built, network, OptimConfig(whiten=True), None)
    check_whitening(built, network, OptimConfig(), None)


def test_weights_that_are_computed_cannot_be_whitened() -> None:
    network = NetworkConfig(arch="resnet8", width=4, classes=2, image_shape=(1, 8, 8), mean=(128.0,), std=(60.0,))
    built = build_network(network)
    nn.utils.parametrizations.weight_norm(first_convolutions(built, network.image_shape)[0])
    with pytest.raises(ConfigError, match="the weights of the first layer of resnet8 are computed from others"):
        check_whitening(built, network, OptimConfig(whiten=True), None)


def test_weights_and_whitening_are_not_given_together(tmp_path: Path) -> None:
    trainer, _, _ = start_trainer(plan_run(options(exits=1, optim=OptimConfig(epochs=1)), tmp_path / "single"))
    trainer.train(lambda report: None, lambda epoch, step, steps: None)
    with pytest.raises(ConfigError, match="--whiten gives the first layer its weights, --weights does too"):
        plan_run(options(weights=str(tmp_path / "single")), tmp_path / "run")
