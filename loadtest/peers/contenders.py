"""The engines that take part, each able to measure one work at a time."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
from typing import IO, Any

import environments

HERE = pathlib.Path(__file__).resolve().parent
PROMPT_TOKENS = 16
FORMATS = ("bf16", "int8", "int4")
SPECULATIVE_PROMPT = "typing import List\ndef bucket_sort(A: List):"


class Unable(Exception):
    """This engine cannot do this work, or not at all; in one line."""


@dataclasses.dataclass(frozen=True)
class Work:
    name: str  # as in strata-bench
    kind: str  # prefill, decode or speculative
    tokens: int = 0
    sequences: int = 1
    exit_layer: int = 0
    draft_tokens: int = 0


def parse_work(name: str) -> Work:
    """prefill_512, decode_8, speculative_e4_k2"""
    if match := re.fullmatch(r"prefill_(\d+)", name):
        return Work(name, "prefill", tokens=int(match[1]))
    if match := re.fullmatch(r"decode_(\d+)", name):
        return Work(name, "decode", sequences=int(match[1]))
    if match := re.fullmatch(r"speculative_e(\d+)_k(\d+)", name):
        return Work(name, "speculative", exit_layer=int(match[1]), draft_tokens=int(match[2]))
    raise ValueError(f"{name}: not prefill_N, decode_N or speculative_eE_kK")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all contenders."""

    model: pathlib.Path
    bench: pathlib.Path
    cache: pathlib.Path
    threads: int
    new_tokens: int
    max_sequences: int
    max_context: int


class Strata:
    """strata-bench, started anew for each measurement."""

    name = "strata"

    def __init__(self, setting: Setting, weights: str) -> None:
        self._setting = setting
        self._weights = weights

    def measure(self, work: Work) -> dict[str, Any]:
        setting = self._setting
        selection = {
            "prefill": ("--prefill-tokens", work.tokens),
            "decode": ("--batch-sizes", work.sequences),
            "speculative": ("--exit-layers", work.exit_layer, "--draft-tokens", work.draft_tokens),
        }[work.kind]
        command = [setting.bench, "--model", setting.model, "--dtype", self._weights, "--json",
                   "--threads", setting.threads, "--tokens", setting.new_tokens, "--repeat", 1,
                   "--prompt", SPECULATIVE_PROMPT, "--only", work.kind, *selection]
        try:
            result = subprocess.run([str(part) for part in command], capture_output=True,
                                    text=True, check=False)
        except OSError as error:
            raise Unable(str(error)) from error
        if result.returncode != 0:
            raise Unable(result.stderr.strip().splitlines()[0])
        rows = {row["name"]: row for row in json.loads(result.stdout)["results"]}
        if work.name not in rows:
            raise Unable(f"strata-bench has no {work.name} for this checkpoint")
        return {"tokens_per_second": rows[work.name]["value"], **rows[work.name]}

    def close(self) -> None:
        pass


class Peer:
    """A worker process in the engine's own environment, stopped while others are measured."""

    def __init__(self, name: str, setting: Setting, model: pathlib.Path) -> None:
        self.name = name
        self._setting = setting
        self._model = model
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def start(self) -> float:
        """Seconds that loading took."""
        module = self.name.replace(".", "_")
        python = environments.python_of(module, self._setting.cache)
        options = {"model": str(self._model), "threads": self._setting.threads,
                   "max_sequences": self._setting.max_sequences,
                   "max_context": self._setting.max_context}
        self._log = tempfile.TemporaryFile("w+")  # pylint: disable=consider-using-with
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [python, "-B", HERE / f"workers/{module}_worker.py", json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            start_new_session=True)
        seconds = self._answer()["load_seconds"]
        self._signal(signal.SIGSTOP)
        return seconds

    @property
    def process_id(self) -> int:
        return self._process.pid

    def _signal(self, number: signal.Signals) -> None:
        """To the worker and the processes of its own that some have, idle threads of which spin."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self._process.pid, number)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            lines = [text for text in self._log.read().splitlines() if text.strip()]
            raise Unable(lines[-1][:200] if lines else "ended without a word")
        return json.loads(line)

    def measure(self, work: Work) -> dict[str, Any]:
        question = {**dataclasses.asdict(work), "prompt_tokens": PROMPT_TOKENS,
                    "new_tokens": self._setting.new_tokens}
        if work.kind == "speculative":
            question["prompt"] = self._speculative_prompt()
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # _answer says what its last words were
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        if "unable" in answer:
            raise Unable(answer["unable"])
        return answer

    def _speculative_prompt(self) -> list[int]:
        tokenizer = self._setting.model / "tokenizer.json"
        if not tokenizer.exists():
            raise Unable("no tokenizer.json to read the prompt with")
        python = environments.python_of("checkpoints", self._setting.cache)
        program = ("import sys, tokenizers; "
                   "print(*tokenizers.Tokenizer.from_file(sys.argv[1]).encode(sys.argv[2]).ids)")
        result = subprocess.run([python, "-c", program, tokenizer, SPECULATIVE_PROMPT],
                                capture_output=True, text=True, check=True)
        return [int(token) for token in result.stdout.split()]

    def close(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)  # some have processes of their own
                self._process.wait()
            self._process.stdout.close()
            self._log.close()


def gguf_of(setting: Setting, kind: str) -> pathlib.Path:
    """The checkpoint as GGUF, converted unless it is in the cache."""
    folder = setting.model.resolve()
    state = "".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n"
                    for path in sorted(folder.glob("*.*")))
    version = hashlib.sha256(state.encode()).hexdigest()[:12]
    path = setting.cache / "gguf" / f"{folder.name}-{version}-{kind}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        python = environments.python_of("checkpoints", setting.cache)
        result = subprocess.run([python, "-B", HERE / "hf_to_gguf.py", folder, path,
                                 "--type", kind], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Unable(result.stderr.strip().splitlines()[-1])
    return path


# What an engine loads for a format: a GGUF type, or None for the checkpoint's folder itself.
PEERS: dict[str, dict[str, str | None]] = {
    "llama.cpp": {"bf16": "bf16", "int8": "q8_0", "int4": "q4_0"},
    "openvino": {"bf16": "f16", "int8": "q8_0", "int4": "q4_0"},
    "vllm": {"bf16": None},
    "transformers": {"bf16": None},
}
ENGINES = (Strata.name, *PEERS)


def open_contender(name: str, setting: Setting, weights: str) -> Strata | Peer:
    """Ready to measure. Raises Unable or environments.InstallError."""
    if name == Strata.name:
        return Strata(setting, weights)
    formats = PEERS[name]
    if weights not in formats:
        raise Unable(f"no {weights} from a plain checkpoint")
    kind = formats[weights]
    peer = Peer(name, setting, setting.model if kind is None else gguf_of(setting, kind))
    try:
        peer.start()
    except BaseException:
        peer.close()
        raise
    return peer
