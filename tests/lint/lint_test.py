#!/usr/bin/env python3
"""Sees every lint rule fail on a planted violation, and pass without it."""

import os
import pathlib
import shutil
import tempfile
import unittest
from unittest import mock

import clock_rules
import file_rules
import format_rules
import include_rules
import source_files


class Tree(unittest.TestCase):
    """A temporary tree to plant files in."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def plant(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)

    def assert_one(self, problems, path, words):
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(path, problems[0])
        self.assertIn(words, problems[0])


class IncludeRules(Tree):
    def test_right_direction_passes(self):
        self.plant("kernels/cpu/a.cc", '#include <vector>\n#include "kernels/backend.h"\n')
        self.plant("engine/a.cc", '#include "absl/status/status.h"\n#include "kernels/backend.h"\n')
        self.plant("server/a.cc", '#include "engine/engine.h"\n#include <grpcpp/grpcpp.h>\n')
        self.plant("client/a.cc", '#include "strata/v1/inference.grpc.pb.h"\n')
        self.plant("tests/a.cc", '#include "server/server.h"\n#include "client/client.h"\n')
        self.assertEqual(include_rules.check(self.root), [])

    def test_each_wrong_direction_is_seen(self):
        planted = [
            ("kernels/a.cc", "engine/engine.h"), ("kernels/a.h", "absl/status/status.h"),
            ("kernels/cpu/a.cc", "fmt/format.h"), ("kernels/a.cc", "grpcpp/grpcpp.h"),
            ("kernels/cuda/a.cu", "server/server.h"), ("engine/a.cc", "server/metrics.h"),
            ("engine/model/a.cc", "grpcpp/server.h"), ("engine/a.h", "google/protobuf/message.h"),
            ("engine/a.h", "google/rpc/status.pb.h"), ("engine/a.cc", "prometheus/counter.h"),
            ("engine/a.cc", "strata/v1/inference.pb.h"), ("engine/a.cc", "spdlog/spdlog.h"),
            ("engine/a.cc", "tests/fakes/fake_model.h"), ("server/a.cc", "client/client.h"),
            ("client/a.cc", "engine/request.h"), ("client/a.cc", "server/options.h"),
            ("bench/a.cc", "strata/v1/inference.pb.h"), ("loadtest/a.cc", "engine/engine.h"),
            ("engine/a.cc", "../server/options.h"),
        ]
        for path, header in planted:
            for line in (f'#include "{header}"', f"#  include <{header}>"):
                with self.subTest(path=path, line=line):
                    self.plant(path, f"\n{line}\n")
                    self.assert_one(include_rules.check(self.root), f"{path}:2", header)
                    (self.root / path).unlink()


class FileRules(Tree):
    GOOD_HEADER = "// A.\n\n#ifndef STRATA_ENGINE_A_H_\n#define STRATA_ENGINE_A_H_\n\n#endif  // STRATA_ENGINE_A_H_\n"

    def test_good_files_pass(self):
        self.plant("engine/a.h", self.GOOD_HEADER)
        self.plant("a.md", "See https://example.org/home/page and src/root/x, $HOME/work/x.\n")
        self.plant("empty.cc", "")
        self.plant("picture.png", b"\x89PNG\0\r\n" + b"TO" b"DO")
        self.assertEqual(file_rules.check(self.root), [])

    def test_each_bad_text_is_seen(self):
        planted = [
            ("// TO" "DO: more\n", "note for later"), ("# FIX" "ME\n", "note for later"),
            ("open('/ho" "me/someone/x')\n", "one machine"), ("cd /wo" "rk/main\n", "one machine"),
            ("text", "newline"), ("text\n\n", "empty line"), ("text \n", "white space"),
            ("text\r\n", "white space"), (b"\xff\xfe\n", "UTF-8"),
        ]
        for text, words in planted:
            with self.subTest(text=text):
                self.plant("a.txt", text)
                self.assert_one(file_rules.check(self.root), "a.txt", words)

    def test_each_bad_guard_is_seen(self):
        for text in ("#pragma once\n", "", self.GOOD_HEADER.replace("_A_H_", "_B_H_"),
                     self.GOOD_HEADER.replace("  // STRATA_ENGINE_A_H_", "")):
            with self.subTest(text=text):
                self.plant("engine/a.h", text)
                self.assert_one(file_rules.check(self.root), "engine/a.h", "STRATA_ENGINE_A_H_")

    def test_data_and_build_outputs_are_not_ours(self):
        for path in ("models/demo/a.json", "tests/goldens/a.jsonl", "build/release/a.h",
                     ".git/config"):
            self.plant(path, "no newline, TO" "DO")
        self.assertEqual(file_rules.check(self.root), [])


class ClockRules(Tree):
    def test_steady_waits_and_named_readers_pass(self):
        self.plant("server/a.cc", "work_.wait_for(lock, 1s);\nstd::chrono::steady_clock::now();\n")
        self.plant("server/logging.cc", "std::chrono::system_clock::now();\n")
        self.plant("tests/a.cc", "absl::SleepFor(absl::Seconds(1));\n")
        self.assertEqual(clock_rules.check(self.root), [])

    def test_each_use_of_the_wall_clock_is_seen(self):
        planted = [
            ("engine/a.cc", "auto now = std::chrono::system_clock::now();", "reads"),
            ("server/a.h", "clock_gettime(CLOCK_REALTIME, &now);", "reads"),
            ("server/a.cc", "mu_.AwaitWithTimeout(condition, timeout);", "waits"),
            ("client/a.cc", "cv.WaitWithDeadline(&mu, deadline);", "waits"),
            ("server/logging.cc", "absl::SleepFor(absl::Seconds(1));", "waits"),
        ]
        for path, line, words in planted:
            with self.subTest(path=path, line=line):
                self.plant(path, f"\n{line}\n")
                self.assert_one(clock_rules.check(self.root), f"{path}:2", words)
                (self.root / path).unlink()


class FormatRules(Tree):
    def setUp(self):
        super().setUp()
        shutil.copy(source_files.default_root() / ".clang-format", self.root)

    def test_formatted_files_pass(self):
        self.plant("engine/a.cc", "int F(int x) { return x; }\n")
        self.plant("models/a.proto", 'syntax="proto3"  ;\n')
        self.assertEqual(format_rules.check(self.root), [])

    def test_each_unformatted_file_is_seen(self):
        for path, text in (("engine/a.cc", "\nint  F( int x ){return x;}\n"),
                           ("kernels/a.h", "\nint  f ;\n"),
                           ("proto/a.proto", 'syntax = "proto3";\nmessage  A{}\n')):
            with self.subTest(path=path):
                self.plant(path, text)
                self.assert_one(format_rules.check(self.root), path, "make format")
                (self.root / path).unlink()

    def test_missing_program_fails_and_says_what_to_do(self):
        with mock.patch.dict(os.environ, {"PATH": str(self.root)}):
            self.assert_one(format_rules.check(self.root), "clang-format-14", "make setup")


if __name__ == "__main__":
    unittest.main()
