"""Precision in which a model is computed: bfloat16 if the device supports it in hardware, else single precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

__all__ = ["Precision", "autocast", "is_half"]

Precision = Literal["auto", "float32", "bfloat16"]
"""Precision of a model's matrix products; weights, normalisations and results stay in single precision."""

# values of ONEDNN_MAX_CPU_ISA that allow instructions for bfloat16; with others oneDNN emulates it, which is slow
_ISA_WITH_BFLOAT16 = ("", "ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512", "AVX10_2_512")


def is_half(device: torch.device, precision: Precision = "auto") -> bool:
    """Whether products are computed in bfloat16: with "auto" if the device has instructions for it.

    On a CPU the environment variable ``ONEDNN_MAX_CPU_ISA`` can disable these instructions.

    Examples
    --------
    >>> is_half(torch.device("cpu"), "bfloat16"), is_half(torch.device("cpu"), "float32")
    (True, False)
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    is_allowed = limit in _ISA_WITH_BFLOAT16 or "AMX" in limit
    return is_allowed and any(bool(known.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager[Any]:
    """Context in which a model is computed in the given precision.

    Examples
    --------
    >>> with autocast(torch.device("cpu"), "bfloat16"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return torch.autocast(device.type, torch.bfloat16) if is_half(device, precision) else nullcontext()
