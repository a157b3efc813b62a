"""Train the embedded segmenter for a given time.

::

    python training/train.py --pool POOL --out RUN --minutes 110 --processes 2

The script writes a checkpoint every two minutes and continues from it if it is started again. At the end it writes the
averaged weights to ``embedded.safetensors``, in float16.
"""

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from checkpoints import Run
from losses import Round, Scores, play
from walks import Batch, batches

LOG_EVERY = 25
SAVE_EVERY_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the result depends on, apart from the content of the pool."""

    pool: str
    out: str
    begin_with: str | None = None
    minutes: float = 110.0
    max_steps: int = 10**9
    objects: int = 16
    processes: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    average: float = 0.998
    held_after: float = 0.5
    """Share of the time after which batch normalisation uses its running statistics, as in inference."""
    score_error: float = 4.0
    score_ends: float = 1.5
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = True


def train(settings: Settings, rank: int = 0) -> None:
    """Train in one of the processes, whose gradients are averaged in each step."""
    _join(settings, rank)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    run = Run.start(settings.seed, settings.device, settings.learning_rate, settings.weight_decay)
    if checkpoint.exists():
        run.resume(checkpoint, settings.device)
    elif settings.begin_with is not None:
        run.begin_with(Path(settings.begin_with))
    rng = np.random.default_rng([settings.seed, rank, run.step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    source = batches(sorted(Path(settings.pool).glob("train-*.npz")), settings.objects, rng)
    started, saved, progress = time.monotonic() - run.seconds, time.monotonic(), run.seconds / (60 * settings.minutes)
    scores = Scores(error=settings.score_error, ends=settings.score_ends)
    figures: list[dict[str, float]] = []
    while progress < 1 and run.step < settings.max_steps:
        set_rate(run.optimiser, settings.learning_rate, run.step, progress)
        _hold_statistics(run.network, progress >= settings.held_after)
        batch = Batch(*(v.to(settings.device) for v in vars(next(source)).values()))
        with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=settings.bfloat16):
            rounds = play(run.network, batch, generator, scores)
        cost = torch.stack([r.cost for r in rounds]).sum()
        run.optimiser.zero_grad()
        cost.backward()
        run.seconds = time.monotonic() - started
        progress = _average(run, settings.processes, run.seconds / (60 * settings.minutes))
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), 2.0)
        run.optimiser.step()
        run.step += 1
        run.follow(settings.average)
        figures.append(summarise(rounds, batch))
        if rank == 0 and run.step % LOG_EVERY == 0:
            _log(out / "log.txt", run, figures[-LOG_EVERY:])
        if rank == 0 and time.monotonic() - saved > SAVE_EVERY_SECONDS:
            run.save(checkpoint)
            saved = time.monotonic()
    if rank == 0:
        run.save(checkpoint)
        run.export(out / "embedded.safetensors")
        reached = {"steps": run.step, "seconds": round(run.seconds)}
        (out / "settings.json").write_text(json.dumps(asdict(settings) | reached, indent=1))
    if settings.processes > 1:
        distributed.destroy_process_group()


def _join(settings: Settings, rank: int) -> None:
    """Join the group of processes; on a CPU each has one thread."""
    if settings.device == "cpu":
        torch.set_num_threads(1)
    if settings.processes > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29517")
        distributed.init_process_group("gloo", rank=rank, world_size=settings.processes)


def set_rate(optimiser: torch.optim.Optimizer, highest: float, step: int, progress: float) -> None:
    """Set the learning rate: a linear warm-up of a hundred steps, and half a cosine over the whole time."""
    rate = highest * min(1.0, step / 100 + 0.01) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    for group in optimiser.param_groups:
        group["lr"] = rate + 1e-6


def _hold_statistics(network: torch.nn.Module, are_held: bool) -> None:
    """Normalise with the running statistics, which are then no longer updated, or with those of the batch.

    Clicks, corrections and walks have different statistics, so a network that is trained only with those of each batch
    may fit the running statistics badly, with which it is used.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train(not are_held)


def _average(run: Run, n_processes: int, progress: float) -> float:
    """Average gradients and running statistics over the processes; returns the average progress."""
    if n_processes == 1:
        return progress
    shared = [p.grad for p in run.network.parameters() if p.grad is not None]
    shared += [b for b in run.network.buffers() if b.is_floating_point()]
    flat = torch.cat([values.flatten() for values in shared] + [torch.tensor([progress])])
    distributed.all_reduce(flat)
    flat /= n_processes
    start = 0
    for values in shared:
        values.copy_(flat[start : start + values.numel()].view_as(values))
        start += values.numel()
    return float(flat[-1])


def summarise(rounds: list[Round], batch: Batch) -> dict[str, float]:
    """Loss, IoU of click, correction and walk, error of the scores, and the share of ends that are recognised."""
    iou, score = (torch.stack([getattr(r, name) for r in rounds[2:]], dim=1) for name in ("iou", "score"))
    is_end = batch.masks[:, 1:].amax(dim=(2, 3)) <= 0.5
    return {
        "cost": float(torch.stack([r.cost.detach() for r in rounds]).sum()),
        "IoU click": float(rounds[0].iou.mean()),
        "correction": float(rounds[1].iou.mean()),
        "walk": float(iou[~is_end].mean()),
        "score error": float(torch.cat([(r.iou - r.score).abs() for r in rounds]).mean()),
        "ends below 0.3": float((score[is_end] < 0.3).float().mean()) if is_end.any() else math.nan,
    }


def _log(path: Path, run: Run, figures: list[dict[str, float]]) -> None:
    means = (f"{name} {np.nanmean([f[name] for f in figures]):.3f}" for name in figures[0])
    line = f"step {run.step} {run.seconds / 60:.1f} min " + " ".join(means)
    print(line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")


def _start(rank: int, settings: Settings) -> None:
    train(settings, rank)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--begin-with", help="exported weights to start with; default: random weights")
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--held-after", type=float, default=0.5, help="share of the time after which running statistics are used"
    )
    parser.add_argument("--score-error", type=float, default=4.0, help="weight of the scores' absolute error")
    parser.add_argument("--score-ends", type=float, default=1.5, help="weight of scores in slices without the object")
    parser.add_argument("--objects", type=int, default=16, help="objects per step and process")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    settings = Settings(**vars(parser.parse_args()))
    if settings.processes == 1:
        train(settings)
    else:
        torch.multiprocessing.spawn(_start, (settings,), settings.processes)


if __name__ == "__main__":
    main()
