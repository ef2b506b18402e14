"""Converts a Hugging Face folder of a Llama to GGUF, for llama.cpp and OpenVINO.

All matrices are quantised, the embedding too, so that engines read about the same bytes. Without
a tokenizer.json the file has no vocabulary, and takes token ids only. Needs
requirements/checkpoints.txt.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

import llama_names
import safetensors_file

TYPES = {
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}


def write_hyperparameters(writer: GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def has_digits(pre_tokenizer: dict[str, Any] | None) -> bool:
    parts = (pre_tokenizer or {}).get("pretokenizers", [])
    return any(part["type"] == "Digits" for part in parts)


def write_vocabulary(writer: GGUFWriter, folder: pathlib.Path, config: dict[str, Any]) -> None:
    if not (folder / "tokenizer.json").exists():
        writer.add_tokenizer_model("none")
        return
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    types = [TokenType.UNUSED] * len(tokens)
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = token, TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if has_digits(tokenizer["pre_tokenizer"]) else "llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge)
                             for merge in tokenizer["model"]["merges"]])
    eos = config["eos_token_id"]
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)
    writer.add_add_bos_token(False)


def write_tensors(writer: GGUFWriter, folder: pathlib.Path, config: dict[str, Any],
                  kind: GGMLQuantizationType) -> None:
    row_orders = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for path in sorted(folder.glob("model*.safetensors")):
        for name, values in safetensors_file.read(path):
            part = name.split(".")[-2]
            if part in row_orders:
                values = llama_names.rows_to_gguf(values, row_orders[part])
            if values.ndim == 1:
                writer.add_tensor(llama_names.to_gguf(name), values)
            else:
                data = quantize(np.ascontiguousarray(values), kind)
                writer.add_tensor(llama_names.to_gguf(name), data, raw_dtype=kind)


def convert(folder: pathlib.Path, out: pathlib.Path, kind: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    if config.get("rope_scaling"):
        raise SystemExit(f"hf_to_gguf: {folder}: rope_scaling is not converted")
    quantization, file_type = TYPES[kind]
    unfinished = out.with_name(out.name + ".part")
    writer = GGUFWriter(unfinished, "llama")
    writer.add_name(folder.name)
    writer.add_file_type(file_type)
    write_hyperparameters(writer, config)
    write_vocabulary(writer, folder, config)
    write_tensors(writer, folder, config, quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="Hugging Face folder")
    parser.add_argument("out", type=pathlib.Path, help="file to write")
    parser.add_argument("--type", choices=TYPES, default="bf16")
    args = parser.parse_args()
    convert(args.folder, args.out, args.type)


if __name__ == "__main__":
    main()
