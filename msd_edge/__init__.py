"""msd-edge: early-exit image classifiers from training to the phone.

    net = msd_edge.load("runs/x")                   # MultiExitNetwork: logits of every exit (needs torch)
    net = msd_edge.add_exits(module, ["layer1"], …)   # exits for a network of your own (needs torch)
    cascade = msd_edge.open_bundle("bundles/x")     # CascadeRunner: numpy and a runtime only
    answer = cascade.predict(image)                 # uint8 (H, W, C) -> label, probability, exit, ms per segment
    answer = cascade.predict_file("photo.jpg")      # an image file of any size, read as training read its images

All load late, so that ``import msd_edge`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from msd_edge.installed import require

__version__ = "0.1.0"

__all__ = ["__version__", "add_exits", "load", "open_bundle"]

if TYPE_CHECKING:
    from msd_edge.models.build import add_exits
    from msd_edge.runtime.opening import open_bundle
    from msd_edge.training.run import load_network as load


def __getattr__(name: str) -> Any:
    if name == "open_bundle":
        from msd_edge.runtime.opening import open_bundle

        return open_bundle
    if name == "load":
        require("loading a run", "torch", "safetensors", extra="train")
        from msd_edge.training.run import load_network

        return load_network
    if name == "add_exits":
        require("adding exits", "torch", extra="train")
        from msd_edge.models.build import add_exits

        return add_exits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
