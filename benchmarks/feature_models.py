"""Time per slice of a DINOv2 model, for each way of computing it.

::

    OMP_NUM_THREADS=1 python benchmarks/feature_models.py
    python benchmarks/feature_models.py --size large --device cuda

The model is DINOv2 of a published size with random weights; slices are 518 x 518 pixels, in batches of four. "error" is
the distance of the tokens from those in single precision, relative to their length. Times are processor time on a CPU,
otherwise wall time. The first call, which compiles a compiled model, is given separately, in wall time.
"""

import argparse
import os
import time
from collections.abc import Callable
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from cryosam.backends.attention import use_fast_attention
from speed import machine

SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}  # channels, layers, heads
SLICE_PX, N_SLICES, N_TIMES = 518, 4, 3


def measure(work: Callable[[], Tensor], device: torch.device) -> tuple[float, float, Tensor]:
    """Wall time of the first call, seconds per slice of the following ones, and the result."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = time.perf_counter()
    answer = work()
    first, start = time.perf_counter() - start, clock()
    for _ in range(N_TIMES):
        work()
    return first, (clock() - start) / N_TIMES / N_SLICES, answer


@torch.inference_mode()
def main() -> None:
    """Print a table with one row per way of computing the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device, (channels, layers, heads) = torch.device(options.device), SIZES[options.size]
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = mkdtemp()  # an empty cache, so that compilation is measured
    torch.manual_seed(0)
    config = Dinov2Config(
        image_size=SLICE_PX,
        patch_size=14,
        hidden_size=channels,
        num_hidden_layers=layers,
        num_attention_heads=heads,
    )
    model = Dinov2Model(config).eval().to(device)
    pixels = torch.rand(N_SLICES, 3, SLICE_PX, SLICE_PX, device=device)
    print(*(f"{key:10} {value}" for key, value in machine().items()), f"{'model':10} DINOv2 {options.size}", sep="\n")
    print("\n| computed in | seconds per slice | error | first call |\n| --- | --- | --- | --- |")
    exact: Tensor | None = None
    for name, is_half, has_blocks, is_compiled in (
        ("float32", False, False, False),
        ("bfloat16", True, False, False),
        ("bfloat16, attention in blocks", True, True, False),
        ("bfloat16, compiled", True, False, True),
        ("bfloat16, attention in blocks, compiled", True, True, True),
    ):
        model.set_attn_implementation("sdpa")
        if has_blocks:
            use_fast_attention(model, device)
        torch.compiler.reset()
        variant = torch.compile(model) if is_compiled else model

        def work(variant: Callable[..., Any] = variant, is_half: bool = is_half) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
                tokens: Tensor = variant(pixel_values=pixels).last_hidden_state
            return tokens.float().cpu()  # also waits until the computation is finished

        first, seconds, answer = measure(work, device)
        exact = answer if exact is None else exact
        error = float((answer - exact).norm() / exact.norm())
        print(f"| {name} | {seconds:.3f} | {error:.4f} | {first:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
