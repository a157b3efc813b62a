"""When models are computed in bfloat16."""

import pytest
import torch

from cryosam.backends.precision import is_half


@pytest.mark.parametrize("limit", ["", "DEFAULT", "avx512_core_bf16", "AVX512_CORE_AMX", "AVX512_CORE_VNNI", "AVX2"])
def test_a_limit_on_instructions_forbids_what_it_leaves_out(monkeypatch, limit: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert is_half(torch.device("cpu")) is (limit not in ("AVX512_CORE_VNNI", "AVX2"))
    assert is_half(torch.device("cpu"), "bfloat16")


def test_a_cpu_without_such_instructions_computes_in_single_precision(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert not is_half(torch.device("cpu"))
