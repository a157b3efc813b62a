"""Attention of transformers in bfloat16 on a CPU, in blocks that fit into its caches.

PyTorch's own attention kernel is not faster in bfloat16 on a CPU without AMX, but its matrix products are. So attention
is computed here as two matrix products with a softmax in between, as in the "eager" attention of `transformers`, for
one block of queries at a time.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from cryosam.backends.precision import is_half

__all__ = ["attend_in_blocks", "use_fast_attention"]

_NAME = "cryosam_blocks"
_CACHED = 1 << 18  # attention weights per block and thread: half a megabyte, about half of a core's cache


def use_fast_attention(model: PreTrainedModel, device: torch.device) -> None:
    """Let a model use `attend_in_blocks` where that is faster: on a CPU with bfloat16 but without AMX."""
    if device.type == "cpu" and is_half(device) and not torch.cpu.get_capabilities().get("amx_bf16"):
        AttentionInterface.register(_NAME, attend_in_blocks)
        model.set_attn_implementation(_NAME)


def attend_in_blocks(
    module: torch.nn.Module,
    query: Float[Tensor, "n heads q c"],
    key: Float[Tensor, "n heads k c"],
    value: Float[Tensor, "n heads k c"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "n q heads c"], None]:
    """Attention, with the signature that `transformers.AttentionInterface` requires.

    Anything other than full attention (no mask, not causal) in bfloat16 is left to PyTorch's kernel. The data type is
    that of the values, because queries and keys with rotary position embeddings are in single precision.
    """
    is_plain = attention_mask is None and not getattr(module, "is_causal", True) and not module.training
    if value.dtype != torch.bfloat16 or not is_plain:
        found, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
        return found, None
    n, heads, n_queries, width = query.shape
    n_keys = key.shape[2]
    query = query.to(value.dtype)
    keys = (key * (width**-0.5 if scaling is None else scaling)).to(value.dtype).transpose(2, 3).contiguous()
    found = query.new_empty(n, n_queries, heads, width)
    block = max(1, _CACHED * torch.get_num_threads() // n_keys)
    for i in range(n):
        for head in range(heads):
            for start in range(0, n_queries, block):
                chosen = slice(start, start + block)
                weights = torch.mm(query[i, head, chosen], keys[i, head]).softmax(dim=-1)
                found[i, chosen, head] = torch.mm(weights, value[i, head])
    return found, None
