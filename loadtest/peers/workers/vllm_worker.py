"""vLLM on the CPU."""

import os

import worker


class Vllm(worker.Engine):
    def __init__(self, model: str, threads: int, max_sequences: int, max_context: int) -> None:
        os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="WARNING",
                          VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1",
                          VLLM_CPU_OMP_THREADS_BIND=_first_cores(threads))
        import vllm  # pylint: disable=import-outside-toplevel  # reads the environment
        self._sampling = vllm.SamplingParams
        self._vllm = vllm.LLM(model=model, dtype="bfloat16", max_model_len=max_context,
                              max_num_seqs=max_sequences, enable_prefix_caching=False,
                              disable_log_stats=True)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        params = self._sampling(temperature=0, max_tokens=new_tokens, ignore_eos=True,
                                detokenize=False)
        self._vllm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params,
                            use_tqdm=False)


def _first_cores(count: int) -> str:
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:count])


if __name__ == "__main__":
    worker.serve(Vllm)
