"""The state of a training run, in memory and on disk."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cryosam.backends.prompt_unet import PromptUNet


@dataclass(eq=False)
class Run:
    """The network, the running average of its weights, the optimiser, and the steps and seconds so far."""

    network: PromptUNet
    averaged: PromptUNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, seed: int, device: str, learning_rate: float, weight_decay: float) -> "Run":
        """Start with random weights."""
        torch.manual_seed(seed)
        network = PromptUNet().to(device, memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        return cls(network, copy.deepcopy(network), optimiser)

    @torch.no_grad()
    def begin_with(self, path: Path) -> None:
        """Start with exported weights, also those of a network without neighbouring slices or memory.

        Connections from inputs that the exported network did not have start with zero weights. Parameters that it did
        not have at all start with zero; additional units of its layers keep their random weights.
        """
        old = load_file(path)
        for name, values in self.network.state_dict().items():
            if name not in old:
                values.zero_()
                continue
            block = tuple(slice(n) for n in old[name].shape)
            if values.ndim >= 2:
                values[: len(old[name])] = 0
            values[block] = old[name].to(values)
        self.averaged.load_state_dict(self.network.state_dict())

    def resume(self, path: Path, device: str) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location=device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self, path: Path) -> None:
        """Write a checkpoint; if the run is killed meanwhile, the previous checkpoint stays."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    @torch.no_grad()
    def follow(self, most: float) -> None:
        """Update the running average of weights and statistics; its decay is at most ``most``, less at the start."""
        keep = min(most, self.step / (self.step + 10))
        for mean, value in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def export(self, path: Path) -> None:
        """Write the averaged weights in float16, the format in the package."""
        halves = {
            name: (values.half() if values.is_floating_point() else values).contiguous().cpu()
            for name, values in self.averaged.state_dict().items()
        }
        save_file(halves, path)
