"""llama.cpp, by the C interface of llama-cpp-python."""

import ctypes

import llama_cpp
import worker

BATCH_TOKENS = 512


class LlamaCpp(worker.Engine):
    def __init__(self, model: str, threads: int, max_sequences: int, max_context: int) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            model.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max_sequences * max_context
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = max_sequences
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._model or not self._context:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._sampler = llama_cpp.llama_sampler_init_greedy()

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Rows of (token, position, sequence, wants a successor); the successors."""
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self._batch.token[i] = token
            self._batch.pos[i] = position
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = sequence
            self._batch.logits[i] = wanted
        self._batch.n_tokens = len(rows)
        if llama_cpp.llama_decode(self._context, self._batch) != 0:
            raise RuntimeError("llama_decode failed")
        return [llama_cpp.llama_sampler_sample(self._sampler, self._context, ctypes.c_int32(i))
                for i, row in enumerate(rows) if row[3]]

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        rows = [(token, position, sequence, position == len(prompt) - 1)
                for sequence, prompt in enumerate(prompts)
                for position, token in enumerate(prompt)]
        tokens = [token for begin in range(0, len(rows), BATCH_TOKENS)
                  for token in self._decode(rows[begin:begin + BATCH_TOKENS])]
        for step in range(new_tokens - 1):
            tokens = self._decode([(token, len(prompts[sequence]) + step, sequence, True)
                                   for sequence, token in enumerate(tokens)])


if __name__ == "__main__":
    worker.serve(LlamaCpp)
