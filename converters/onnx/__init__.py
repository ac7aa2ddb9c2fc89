"""The ONNX target: one float graph from torch, cut and quantized by graph surgery.

    network ─export─▶ whole float graph ─slice─▶ float segments ─quantize─▶ uint8 segments
                            │                        └──────── chain ────────┴──▶ stand-alone exits
                            └─calibrate─▶ activation ranges

torch is asked once: the chain of segments goes through the exporter as one graph with every hand-over as an output
(60 % of the time that one export per segment takes), and is sliced there. A stand-alone exit is the segments before it
merged at their seams, so it computes what the chain computes.
"""

from msd_edge.converters.onnx.converter import OnnxConverter

__all__ = ["OnnxConverter"]
