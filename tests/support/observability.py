"""Prometheus rules of deploy/observability, and the names that PromQL may use."""

import re
from pathlib import Path
from typing import Any

import yaml

from harmost.core.otel.conventions import ATTRIBUTES
from harmost.core.otel.instruments import INSTRUMENTS, instrument_names, prometheus_name

__all__ = ["CASES", "FOLDER", "RECORDED", "RULES", "rules", "unknown_names"]

FOLDER = Path(__file__).parents[2] / "deploy" / "observability" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
CASES = sorted((FOLDER / "tests").glob("*.test.yml"))
NAME = re.compile(r"\b(?:harmost|gen_ai)_\w+")


def rules(path: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


RECORDED = {rule["record"] for path in RULES for rule in rules(path) if "record" in rule}


def metric_names() -> set[str]:
    """Every name that a scrape may hold."""
    found: set[str] = set()
    for key, instrument in INSTRUMENTS.items():
        for name in instrument_names(key, "dup"):
            full = prometheus_name(name, instrument)
            suffixes = ("_bucket", "_count", "_sum") if instrument.kind == "histogram" else ("",)
            found |= {full + suffix for suffix in suffixes}
    return found


def label_names() -> set[str]:
    labels = {label for instrument in INSTRUMENTS.values() for label in instrument.labels}
    return {ATTRIBUTES[label].latest.replace(".", "_") for label in labels}


def unknown_names(text: str) -> set[str]:
    """Names in PromQL that no metric and no label has."""
    return set(NAME.findall(text)) - metric_names() - label_names()
