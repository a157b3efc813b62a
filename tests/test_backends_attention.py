"""Attention in blocks: PyTorch's, but for the rounding of bfloat16."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from cryosam.backends import attention
from cryosam.backends.attention import attend_in_blocks, use_fast_attention
from tiny_models import tiny_dinov2, tiny_dinov2_registers, tiny_dinov3

MODULE = torch.nn.Identity().eval()
MODULE.is_causal = False
ROUNDING = 0.02  # of values around 1 in bfloat16


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(torch.bfloat16)


@pytest.mark.parametrize("cached", [1, 100, 1 << 20])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_it_is_pytorchs_attention_whatever_the_blocks(cached, scaling, monkeypatch) -> None:
    monkeypatch.setattr(attention, "_CACHED", cached)
    query, key, value = _random(2, 3, 17, 8), _random(2, 3, 29, 8), _random(2, 3, 29, 8)
    found, weights = attend_in_blocks(MODULE, query, key, value, None, scaling=scaling, dropout=0.0)
    expected = scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=scaling)
    assert weights is None
    torch.testing.assert_close(found.float(), expected.transpose(1, 2), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_and_single_precision_are_left_to_pytorch(dtype) -> None:
    query, key, value = (_random(1, 2, 5, 4).to(dtype) for _ in range(3))
    mask = torch.zeros(1, 1, 5, 5, dtype=dtype).masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf)
    for given in (mask, None) if dtype == torch.float32 else (mask,):
        found, _ = attend_in_blocks(MODULE, query, key, value, given, scaling=0.5)
        expected = scaled_dot_product_attention(query, key, value, attn_mask=given, scale=0.5)
        assert torch.equal(found, expected.transpose(1, 2))


@pytest.mark.parametrize("build", [tiny_dinov2, tiny_dinov2_registers, tiny_dinov3])
def test_models_attend_by_it_where_the_processor_is_faster_so(build, monkeypatch) -> None:
    asked = []

    def attend(*arguments, **options):
        asked.append(arguments[3].dtype)
        return attend_in_blocks(*arguments, **options)

    monkeypatch.setattr(attention, "attend_in_blocks", attend)
    edge = 32 if build is tiny_dinov3 else 28
    pixels = torch.rand(1, 3, edge, 2 * edge)
    half, amx = {"avx512_bf16": True}, {"avx512_bf16": True, "amx_bf16": True}
    for capabilities, is_used in ((half, True), (amx, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=capabilities: known, raising=False)
        model = build().eval()
        use_fast_attention(model, torch.device("cpu"))
        asked.clear()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model(pixel_values=pixels)
        assert asked == [torch.bfloat16] * len(asked)
        assert bool(asked) == is_used
