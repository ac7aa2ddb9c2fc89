"""What may be chosen of a network by name; without torch, so that a wrong name is answered at once."""

from typing import Literal

BranchKind = Literal["sampled", "separable", "pooled"]
