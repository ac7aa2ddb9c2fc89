"""What may be chosen of a training by name; without torch, so that a wrong name is answered at once."""

from typing import Literal, get_args

Method = Literal["msd", "msd-better", "joint", "last-teacher", "annealed", "ensemble", "single"]
METHODS: tuple[Method, ...] = get_args(Method)
Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["one-cycle", "cosine"]
