"""How Hugging Face and GGUF name a Llama's tensors, and order the rows of queries and keys."""

import numpy as np

TO_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TO_HUGGING_FACE = {gguf: theirs for theirs, gguf in TO_GGUF.items()}


def to_gguf(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{TO_GGUF[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{TO_GGUF[part]}.weight"


def to_hugging_face(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("blk."):
        return f"{TO_HUGGING_FACE[stem]}.weight"
    _, layer, part = stem.split(".", 2)
    return f"model.layers.{layer}.{TO_HUGGING_FACE[part]}.weight"


# Rotary embedding pairs rows (i, i + head_dim / 2) of a head at Hugging Face, (2 i, 2 i + 1) in
# GGUF.


def rows_to_gguf(weight: np.ndarray, num_heads: int) -> np.ndarray:
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def rows_to_hugging_face(weight: np.ndarray, num_heads: int) -> np.ndarray:
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
