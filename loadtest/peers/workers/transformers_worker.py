"""transformers, autoregressive and with assistant_early_exit."""

from typing import Any

import torch
import transformers
import worker


class Transformers(worker.Engine):
    def __init__(self, model: str, threads: int, max_sequences: int, max_context: int) -> None:
        del max_sequences, max_context  # it grows as it needs
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.bfloat16, local_files_only=True).eval()
        self._model.generation_config.eos_token_id = None  # so that none ends early
        self._model.generation_config.pad_token_id = 0

    def _run(self, prompts: list[list[int]], new_tokens: int, **options: Any) -> None:
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            output = self._model.generate(ids, attention_mask=torch.ones_like(ids),
                                          do_sample=False, max_new_tokens=new_tokens, **options)
        if output.shape[1] != ids.shape[1] + new_tokens:
            raise RuntimeError("transformers generated another number of tokens")

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        self._run(prompts, new_tokens)

    def generate_early_exit(self, prompt: list[int], new_tokens: int, exit_layer: int,
                            draft_tokens: int) -> None:
        self._model.generation_config.num_assistant_tokens = draft_tokens
        self._model.generation_config.num_assistant_tokens_schedule = "constant"
        self._model.generation_config.assistant_confidence_threshold = 0.0
        self._run([prompt], new_tokens, assistant_early_exit=exit_layer)


if __name__ == "__main__":
    worker.serve(Transformers)
