"""Plays the official ``benchmark_model`` for one file with LiteRT: the flags the host uses, and the lines it reads."""

import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(words: list[str]) -> int:
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    interpreter = Interpreter(model_content=Path(flags["graph"]).read_bytes(), num_threads=int(flags["num_threads"]))
    start = time.perf_counter()
    interpreter.allocate_tensors()
    init = (time.perf_counter() - start) * 1e6
    files = dict(part.split(":", 1) for part in flags.get("input_layer_value_files", "").split(",") if part)
    for place, info in enumerate(interpreter.get_input_details()):
        value = np.zeros(info["shape"], info["dtype"])
        if files:
            data = Path(files[f"in{place}"]).read_bytes()
            value = np.frombuffer(data, info["dtype"]).reshape(info["shape"])
        interpreter.set_tensor(info["index"], value)
    times = []
    for _ in range(int(flags["num_runs"])):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e6)
    if "output_filepath" in flags:
        outputs = [interpreter.get_tensor(info["index"]).tobytes() for info in interpreter.get_output_details()]
        Path(flags["output_filepath"]).write_bytes(b"".join(outputs))
    say("INFO: Running benchmark for at least 1 iterations")
    say(
        f"INFO: count={len(times)} first={times[0]:.0f} curr={times[-1]:.0f} min={min(times):.0f} max={max(times):.0f} "
        f"avg={np.mean(times):.3f} std=1 p5={np.percentile(times, 5):.0f} median={np.median(times):.0f} "
        f"p95={np.percentile(times, 95):.0f}"
    )
    say(
        f"INFO: Inference timings in us: Init: {init:.0f}, First inference: {times[0]:.0f}, "
        f"Warmup (avg): {times[0]:.1f}, Inference (avg): {np.mean(times):.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
