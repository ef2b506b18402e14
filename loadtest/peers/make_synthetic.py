"""Writes a synthetic LayerSkip checkpoint in the shape of Llama 3.2 1B, with random weights.

Layers from --exit-layer on add residuals scaled by --epsilon only, so a draft that exits there
agrees with the whole model about as often as epsilon makes it. Such a checkpoint shows speed at a
chosen acceptance rate, and nothing else.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np

import safetensors_file

HIDDEN = 2048
LAYERS = 16
HEADS = 32
KV_HEADS = 8
HEAD_DIM = 64
INTERMEDIATE = 8192
VOCAB = 49152
RESIDUAL_SCALE = 0.3
MATRICES = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
    "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
TO_RESIDUAL = ("self_attn.o_proj", "mlp.down_proj")


def shapes() -> dict[str, safetensors_file.Shape]:
    result: dict[str, safetensors_file.Shape] = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            result[f"{prefix}{norm}.weight"] = (HIDDEN,)
        for name, shape in MATRICES.items():
            result[f"{prefix}{name}.weight"] = shape
    result["model.norm.weight"] = (HIDDEN,)
    return result


def scale(name: str, fan_in: int, exit_layer: int, epsilon: float) -> float:
    if not any(matrix in name for matrix in TO_RESIDUAL):
        return fan_in**-0.5
    layer = int(name.split(".")[2])
    return RESIDUAL_SCALE * fan_in**-0.5 * (1 if layer < exit_layer else epsilon)


def write_config(folder: pathlib.Path, tokenizer: pathlib.Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCAB, "rope_theta": 500000.0, "rope_scaling": None,
        "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }
    theirs = json.loads((tokenizer / "config.json").read_text())
    config |= {key: theirs[key] for key in ("bos_token_id", "eos_token_id")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True,
                        help=f"checkpoint with a tokenizer.json of at most {VOCAB} tokens")
    parser.add_argument("--exit-layer", type=int, default=4)
    parser.add_argument("--epsilon", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(args.seed)
    wanted = shapes()

    def make(name: str) -> np.ndarray:
        shape = wanted[name]
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        values = random.standard_normal(shape, np.float32)
        return values * np.float32(scale(name, shape[1], args.exit_layer, args.epsilon))

    safetensors_file.write(args.out / "model.safetensors", wanted, make)
    write_config(args.out, args.tokenizer)


if __name__ == "__main__":
    main()
