"""Writes `configs/simulated/faulty.yaml` from the FAULTS table."""

from __future__ import annotations

import json

from streambench.simulator.faults import FAULTS

_HEAD = """\
# Generated from FAULTS in streambench/simulator/faults.py by `make docs`.
# One model a fault, named fault-<name>; each has its fault in every answer. To have one by chance, mix it into a
# healthy model: `fault: {cut: 0.05, http_429: 0.1}`. The keys are explained in models.yaml.

models:
"""
_CALLING = "for a model with `tools`"
"""What the description of a fault says if it concerns only answers with tool calls."""


def faulty_models() -> str:
    """Returns the content of `configs/simulated/faulty.yaml`."""
    return _HEAD + "\n".join(_model(name, fault.about) for name, fault in FAULTS.items())


def _model(name: str, about: str) -> str:
    keys = {"about": json.dumps(about), "ttft_ms": 80, "gap_ms": 10, "tokens": 12}
    keys |= {"tools": "true"} if _CALLING in about else {}
    return f"  fault-{name}:\n" + "".join(f"    {key}: {value}\n" for key, value in {**keys, "fault": name}.items())
