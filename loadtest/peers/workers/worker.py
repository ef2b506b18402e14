"""What the engines' workers share: they answer questions about speed, one JSON object a line.

compare.py starts a worker in its engine's own environment and asks in turn; a worker that waits
computes nothing. Engines may print what they like: our answers have the real standard output for
themselves.
"""

import abc
import json
import os
import sys
import time
from typing import Any


FIRST_ID, NUM_IDS = 100, 3000  # ordinary tokens of every vocabulary of ours


def token_ids(count: int, variant: int) -> list[int]:
    """Ids without meaning, another sequence for each variant, so that no cache can help."""
    return [FIRST_ID + (7919 * (i + 1) + 104729 * (variant + 1)) % NUM_IDS for i in range(count)]


class Engine(abc.ABC):
    """An engine with its model loaded. Every sequence generates as many tokens as asked for."""

    # Of all that was ever asked, so that prompts differ.
    prompts_made = 0

    @abc.abstractmethod
    def generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        """Greedily decodes all prompts at once."""

    def generate_early_exit(self, prompt: list[int], new_tokens: int, exit_layer: int,
                            draft_tokens: int) -> None:
        raise NotImplementedError("no self-speculative decoding")

    def make_prompts(self, count: int, tokens: int) -> list[list[int]]:
        first = self.prompts_made
        self.prompts_made += count
        return [token_ids(tokens, first + i) for i in range(count)]


def seconds_of(call: Any, *args: Any) -> float:
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def decode_rate(tokens: int, first: float, both: float) -> float:
    """`first`: seconds to the first token, which is not decoding; `both`: to the last one."""
    if both <= first:
        raise NotImplementedError("too few tokens to tell decoding from the first token")
    return tokens / (both - first)


def measure(engine: Engine, work: dict[str, Any]) -> dict[str, float]:
    if work["kind"] == "prefill":
        prompts = engine.make_prompts(1, work["tokens"])
        return {"tokens_per_second": work["tokens"] / seconds_of(engine.generate, prompts, 1)}
    if work["kind"] == "speculative":
        return measure_speculative(engine, work)
    count, new_tokens = work["sequences"], work["new_tokens"]
    first = seconds_of(engine.generate, engine.make_prompts(count, work["prompt_tokens"]), 1)
    both = seconds_of(engine.generate, engine.make_prompts(count, work["prompt_tokens"]),
                      new_tokens)
    return {"tokens_per_second": decode_rate(count * (new_tokens - 1), first, both)}


def measure_speculative(engine: Engine, work: dict[str, Any]) -> dict[str, float]:
    prompt, new_tokens = work["prompt"], work["new_tokens"]
    drafted = seconds_of(engine.generate_early_exit, prompt, new_tokens, work["exit_layer"],
                         work["draft_tokens"])
    first = seconds_of(engine.generate, [prompt], 1)
    plain = decode_rate(new_tokens - 1, first, seconds_of(engine.generate, [prompt], new_tokens))
    rate = decode_rate(new_tokens - 1, first, drafted)
    return {"tokens_per_second": rate, "speedup": rate / plain}


def serve(load: Any) -> None:
    """`load(model, threads, max_sequences, max_context)` gives the Engine."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    start = time.perf_counter()
    engine = load(**options)
    print(json.dumps({"load_seconds": time.perf_counter() - start}), file=answers)
    for line in sys.stdin:
        try:
            answer = measure(engine, json.loads(line))
            print(json.dumps(answer), file=answers)
        except NotImplementedError as error:
            print(json.dumps({"unable": str(error)}), file=answers)
