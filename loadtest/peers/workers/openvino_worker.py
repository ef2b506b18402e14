"""OpenVINO GenAI on a GGUF file."""

import numpy as np
import openvino
import openvino_genai
import worker


class OpenVino(worker.Engine):
    def __init__(self, model: str, threads: int, max_sequences: int, max_context: int) -> None:
        del max_sequences, max_context  # it grows as it needs
        self._pipeline = openvino_genai.LLMPipeline(
            model, "CPU", INFERENCE_NUM_THREADS=threads, ENABLE_CPU_PINNING=False)

    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.do_sample = False
        config.ignore_eos = True
        ids = np.array(prompts, np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids),
                                                openvino.Tensor(np.ones_like(ids)))
        result = self._pipeline.generate(inputs, config)
        if any(len(tokens) != new_tokens for tokens in result.tokens):
            raise RuntimeError("OpenVINO generated another number of tokens")


if __name__ == "__main__":
    worker.serve(OpenVino)
