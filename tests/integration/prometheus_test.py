#!/usr/bin/env python3
"""deploy/prometheus and deploy/grafana with the real Prometheus, which scrapes a loaded server."""

import json
import math
import pathlib
import re
import subprocess
import tempfile
import unittest
import urllib.parse
import urllib.request

from busy_server import BusyServer
from free_port import free_port
from server_process import ROOT, wait_until

RULES = ROOT / "deploy/prometheus/strata.rules.yml"
RULES_TEST = ROOT / "deploy/prometheus/strata.test.yml"
CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))

# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "10s", "$__range": "30s", "$instance": ".*", "$tenant": ".*"}

LOAD_SECONDS = 60  # it ends with the test, unless that takes longer
DATA_SECONDS = 40  # for all expressions to have data


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], text=True, capture_output=True,
                          check=False, timeout=60)


def replace_once(text, pattern, replacement):
    text, count = re.subn(pattern, replacement, text)
    assert count == 1, pattern
    return text


class Prometheus:
    """The configuration as it is, but for the target, and a second in place of a quarter minute."""

    def __init__(self, folder, target):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        text = CONFIGURATION.read_text()
        text = replace_once(text, "127.0.0.1:9464", target)
        for interval in ("scrape_interval", "evaluation_interval"):
            text = replace_once(text, f"{interval}: 15s", f"{interval}: 1s")
        (self.folder / "prometheus.yml").write_text(text)
        (self.folder / RULES.name).write_text(RULES.read_text())

    def __enter__(self):
        self.log = open(self.folder / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={self.folder}/prometheus.yml",
             f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        if not wait_until(self.ready, 60):
            self.__exit__()
            raise AssertionError((self.folder / "log").read_text())
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()

    def ready(self):
        try:
            return self.get("/-/ready") is not None
        except OSError:
            return False

    def get(self, path, **parameters):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        with opener.open(url, timeout=30) as answer:
            return answer.read().decode()

    def has_data(self, expression):
        """Whether the expression is a number somewhere."""
        data = json.loads(self.get("/api/v1/query", query=expression))["data"]
        if data["resultType"] == "scalar":
            return math.isfinite(float(data["result"][1]))
        return any(math.isfinite(float(series["value"][1])) for series in data["result"])

    def rules(self):
        groups = json.loads(self.get("/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def split(expression, separators):
    """Cuts where a separator stands outside all brackets."""
    parts, depth = [""], 0
    for word in re.findall(r'"(?:[^"\\]|\\.)*"|[\w:.]+|\s+|[<>=!]=|=~|!~|.', expression, re.DOTALL):
        depth += (word in "([{") - (word in ")]}")
        if depth == 0 and word in separators:
            parts.append("")
        else:
            parts[-1] += word
    return [part.strip() for part in parts]


def compared(alert):
    """What an alert's expression looks at, without thresholds: both sides of each comparison."""
    return [side for condition in split(alert, ("and", "or", "unless"))
            for side in split(condition, (">", "<", ">=", "<=", "==", "!="))]


def panels(dashboard):
    return json.loads(dashboard.read_text())["panels"]


def expressions(dashboard):
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def substitute(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


class Rules(unittest.TestCase):
    def test_promtool_finds_no_mistake(self):
        for arguments in (("check", "rules", RULES), ("check", "config", CONFIGURATION)):
            result = promtool(*arguments)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_alerts_fire_where_they_must_and_only_there(self):
        result = promtool("test", "rules", RULES_TEST)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_each_alert_is_tested_both_ways(self):
        alerts = re.findall(r"^ +- alert: (\w+)", RULES.read_text(), re.MULTILINE)
        self.assertGreaterEqual(len(alerts), 7)
        cases = RULES_TEST.read_text()
        silent = set(re.findall(r"^ +- \{eval_time: \w+, alertname: (\w+)\}", cases, re.MULTILINE))
        firing = set(re.findall(r"^ +alertname: (\w+)\n +exp_alerts:", cases, re.MULTILINE))
        self.assertEqual(set(alerts), silent)
        self.assertEqual(set(alerts), firing)

    def test_promtool_notices_a_wrong_threshold(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / RULES_TEST.name).write_text(RULES_TEST.read_text())
            for old, new in (("ratio_rate5m < 0.95", "ratio_rate5m < 0.7"),
                             ("14 * 86400", "60 * 86400"),
                             (r"strata_engine_stuck == 1", "strata_engine_stuck == 2")):
                (pathlib.Path(folder) / RULES.name).write_text(
                    RULES.read_text().replace(old, new))
                result = promtool("test", "rules", f"{folder}/{RULES_TEST.name}")
                self.assertNotEqual(result.returncode, 0, new)


class Dashboards(unittest.TestCase):
    def test_panels_are_whole_and_do_not_overlap(self):
        self.assertEqual(len(DASHBOARDS), 3)
        for dashboard in DASHBOARDS:
            taken = set()
            for number, panel in enumerate(panels(dashboard), 1):
                self.assertEqual(panel["id"], number, dashboard)
                self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
                cells = {(place["x"] + x, place["y"] + y)
                         for x in range(place["w"]) for y in range(place["h"])}
                self.assertFalse(taken & cells, panel["title"])
                taken |= cells

    def test_variables_are_declared(self):
        for dashboard in DASHBOARDS:
            declared = {variable["name"] for variable in
                        json.loads(dashboard.read_text())["templating"]["list"]}
            used = {name for text in expressions(dashboard)
                    for name in re.findall(r"\$(?!__)(\w+)", text)}
            self.assertEqual(declared, used | {"datasource"}, dashboard)


class Parsing(unittest.TestCase):
    def test_alerts_are_cut_at_comparisons_outside_brackets(self):
        self.assertEqual(compared('a{x=~"b|c"} / (d > 0) < 0.5 * max(e) and f == 1'),
                         ['a{x=~"b|c"} / (d > 0)', "0.5 * max(e)", "f", "1"])
        self.assertEqual(compared("time() - a_or_b >= 3 or c > 2"), ["time() - a_or_b", "3", "c", "2"])


class Scraped(unittest.TestCase):
    def test_every_panel_rule_and_alert_has_data(self):
        with BusyServer() as busy, tempfile.TemporaryDirectory() as folder, \
                Prometheus(folder, busy.server.metrics_address) as prometheus, \
                busy.load(LOAD_SECONDS):
            wanted = [substitute(text) for dashboard in DASHBOARDS
                      for text in expressions(dashboard)]
            for rule in prometheus.rules():
                if rule["type"] == "recording":
                    wanted += [rule["query"], rule["name"]]
                else:
                    wanted += compared(rule["query"])
            self.assertGreater(len(wanted), 80)
            missing = set(wanted)

            def all_have_data():
                missing.difference_update([text for text in missing if prometheus.has_data(text)])
                return not missing

            wait_until(all_have_data, DATA_SECONDS)
            self.assertEqual(missing, set())
            self.assertFalse([rule["name"] for rule in prometheus.rules()
                              if rule["health"] != "ok"])


if __name__ == "__main__":
    unittest.main()
