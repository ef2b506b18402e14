#!/usr/bin/env python3
"""The parts of the comparison that need neither an engine nor a package."""

import pathlib
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import chart
import contenders
import environments
import results

# Answers like an engine's worker that is twice as fast with each question.
WORKER = """
import sys
sys.path.insert(0, {workers!r})
import worker

class Fake(worker.Engine):
    def generate(self, prompts, new_tokens):
        print("an engine may print what it likes")
        if len(prompts) > 2:
            sys.exit("out of memory")

def load(model, threads, max_sequences, max_context):
    return Fake()

worker.seconds_of = lambda call, *args: (call(*args), args[-1])[1]
worker.serve(load)
"""


def setting(cache: str) -> contenders.Setting:
    return contenders.Setting(model=pathlib.Path("model"), bench=pathlib.Path("no-such-bench"),
                              cache=pathlib.Path(cache), threads=1, new_tokens=8, max_sequences=1,
                              max_context=64)


def some_results() -> results.Results:
    found = results.Results(about={"model": "m<1>", "threads": 2})
    for rate in (10.0, 30.0, 20.0):
        found.add("bf16", "decode_1", "strata",
                  {"tokens_per_second": rate, "limit": 40.0, "read_gb_s": 38.0})
        found.add("bf16", "decode_1", "llama.cpp", {"tokens_per_second": rate / 2})
    found.add("bf16", "decode_1", "vllm", {"tokens_per_second": 16.0})
    found.add("bf16", "speculative_e4_k2", "strata",
              {"tokens_per_second": 50.0, "limit": 60.0, "speedup": 2.5})
    found.skipped.append("openvino bf16: no such package")
    return found


class Works(unittest.TestCase):
    def test_names(self):
        self.assertEqual(contenders.parse_work("decode_16").sequences, 16)
        self.assertEqual(contenders.parse_work("prefill_512").tokens, 512)
        work = contenders.parse_work("speculative_e4_k2")
        self.assertEqual((work.kind, work.exit_layer, work.draft_tokens), ("speculative", 4, 2))

    def test_wrong_names(self):
        for name in ("decode", "decode_x", "decode_1_2", "speculative_4", "latency_1", ""):
            with self.assertRaises(ValueError, msg=name):
                contenders.parse_work(name)


class Tables(unittest.TestCase):
    def test_medians_and_ratio_to_the_best_peer(self):
        found = some_results()
        self.assertEqual(found.median("bf16", "decode_1", "strata"), 20)
        self.assertEqual(found.over_best_peer("bf16", "decode_1"), 20 / 16)
        self.assertIsNone(found.over_best_peer("bf16", "speculative_e4_k2"))

    def test_markdown(self):
        text = results.to_markdown(some_results())
        self.assertIn("| bf16 | decode_1 | 20.0 | 10.0 | 16.0 | 1.25 | 40.0 | 38.0 |", text)
        self.assertIn("| bf16 | speculative_e4_k2 | 50.0 |  |  |  | 60.0 |  |", text)
        self.assertIn("| bf16 | speculative_e4_k2 | 2.50 |  |  |", text)
        self.assertIn("- openvino bf16: no such package", text)

    def test_chart_has_a_bar_for_each_figure(self):
        root = xml.etree.ElementTree.fromstring(chart.to_svg(some_results()))
        bars = [float(item.get("width")) for item in root.iter("{http://www.w3.org/2000/svg}rect")
                if item.get("height") == str(chart.BAR - 3)]
        self.assertEqual(len(bars), 4)
        self.assertEqual(bars[0], 2 * bars[1])
        self.assertLessEqual(max(bars), chart.PLOT_WIDTH)

    def test_nothing_measured(self):
        empty = results.Results(about={"model": "m", "threads": 1})
        xml.etree.ElementTree.fromstring(chart.to_svg(empty))
        self.assertIn("| weights | work |", results.to_markdown(empty))


class Workers(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        folder = pathlib.Path(self._folder.name)
        (folder / "workers").mkdir()
        workers = str(contenders.HERE / "workers")
        (folder / "workers/fake_worker.py").write_text(WORKER.format(workers=workers))
        self._here, contenders.HERE = contenders.HERE, folder
        self._python_of, environments.python_of = environments.python_of, (
            lambda name, cache: pathlib.Path(sys.executable))
        self.peer = contenders.Peer("fake", setting(self._folder.name), pathlib.Path("model"))
        self.addCleanup(self._restore)

    def _restore(self):
        self.peer.close()
        contenders.HERE, environments.python_of = self._here, self._python_of

    def test_first_token_is_no_decoding(self):
        self.peer.start()
        answer = self.peer.measure(contenders.parse_work("decode_2"))
        # The fake takes as many seconds as it generates tokens: 2 x 7 tokens in 8 - 1.
        self.assertEqual(answer, {"tokens_per_second": 2})

    def test_stopped_while_others_are_measured(self):
        def wait_until_stopped():
            path = pathlib.Path(f"/proc/{self.peer.process_id}/stat")
            for _ in range(500):
                if path.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T":
                    return
                time.sleep(0.01)
            self.fail("still running")

        self.peer.start()
        wait_until_stopped()
        self.peer.measure(contenders.parse_work("decode_2"))
        wait_until_stopped()

    def test_what_an_engine_cannot_do_is_no_end(self):
        self.peer.start()
        with self.assertRaisesRegex(contenders.Unable, "tokenizer.json"):
            self.peer.measure(contenders.parse_work("speculative_e4_k2"))
        self.peer.measure(contenders.parse_work("prefill_4"))

    def test_last_words_of_a_dead_worker(self):
        self.peer.start()
        for _ in range(2):
            with self.assertRaisesRegex(contenders.Unable, "out of memory"):
                self.peer.measure(contenders.parse_work("decode_3"))


class Programs(unittest.TestCase):
    def test_strata_bench_that_is_not_there(self):
        with self.assertRaises(contenders.Unable):
            contenders.Strata(setting("."), "bf16").measure(contenders.parse_work("decode_1"))

    def test_package_that_does_not_exist(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            with self.assertRaisesRegex(environments.InstallError, "^no such thing .see "):
                environments.run(log, sys.executable, "-c", "raise SystemExit('no such thing')")
            self.assertEqual(log.read_text(), "no such thing\n")


if __name__ == "__main__":
    unittest.main()
