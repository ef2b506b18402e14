#!/usr/bin/env python3
"""What README.md and ARCHITECTURE.md name exists, and what exists is named."""

import re
import subprocess
import unittest

from server_process import BIN, ROOT, run_server

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE).group(1)


def rows(text):
    """First cells of the tables' rows."""
    return re.findall(r"^\| (.*?) +\|", text, re.MULTILINE)


class Readme(unittest.TestCase):
    def test_options(self):
        table = " ".join(rows(section(README, "Options of strata-server")))
        documented = set(re.findall(r"--[a-z-]+[a-z]", table)) | {"--config"}
        offered = set(re.findall(r"^  .*?(--[a-z-]+[a-z])", run_server("--help").stdout,
                                 re.MULTILINE))
        self.assertEqual(documented, offered - {"--help", "--version"})

    def test_metrics(self):
        """What is written of metrics, in words, rules and dashboards, is of those that there are."""
        documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"),
                     *(ROOT / "deploy/prometheus").glob("*.yml"),
                     *(ROOT / "deploy/grafana/dashboards").glob("*.json")]
        listed = set(rows((ROOT / "docs/METRICS.md").read_text()))
        for document in documents:
            # Names with colons are those of recording rules.
            for name in re.findall(r"(?<![\w:])strata_[a-z_]*[a-z](?![\w:.])",
                                   document.read_text()):
                family = re.sub(r"_(bucket|sum|count)$", "", name)
                self.assertTrue({f"`{name}`", f"`{family}`"} & listed, f"{document}: {name}")

    def test_subcommands_of_strata(self):
        documented = set(re.findall(r"^    strata ([a-z]+)", README, re.MULTILINE))
        text = subprocess.run([BIN / "strata", "--help"], capture_output=True, text=True,
                              check=True).stdout
        offered = set(re.findall(r"^  ([a-z]+) ", text.split("Subcommands:")[1], re.MULTILINE))
        self.assertEqual(documented, offered)

    def test_make_targets(self):
        makefile = (ROOT / "Makefile").read_text()
        text = README + (ROOT / "CONTRIBUTING.md").read_text()
        for target in re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE):
            self.assertRegex(makefile, rf"(?m)^{target}:", target)


class Architecture(unittest.TestCase):
    def test_folders_and_files_exist(self):
        for cell in rows(section(ARCHITECTURE, "Folders"))[2:]:
            folder = ""
            for name in re.findall(r"`([^`]+)`", cell):
                path = name if "/" in name else folder + name
                folder = path[:path.rfind("/") + 1]
                self.assertTrue((ROOT / path).exists() or (ROOT / f"{path}.h").exists(), path)

    def test_tests_exist(self):
        sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*")
                          if path.suffix in (".cc", ".txt"))
        table = section(ARCHITECTURE, "What must always hold, and what holds it")
        for name in re.findall(r"`([A-Za-z0-9_.]+)`", table):
            if name.startswith(("integration_", "loadtest_")):
                found = name.startswith("loadtest_") or (
                    ROOT / f"tests/integration/{name.removeprefix('integration_')}.py").exists()
            elif "." in name:
                suite, test = name.split(".")
                found = re.search(rf"{suite}, {test}\b", sources)
            else:
                found = re.search(rf"\b{name}\b", sources)
            self.assertTrue(found, name)


if __name__ == "__main__":
    unittest.main()
