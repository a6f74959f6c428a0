"""What would break a run, found before one: each check is one line with its mend. `streambench doctor` prints them.

The machine is looked at in `machine`, the gateways' lists in `gateways`; `trials` sends the tiny requests, through the
client that a run sends by, and `judged` says what their records show.
"""

from __future__ import annotations

from streambench.doctor.check import Check, State
from streambench.doctor.gateways import gateway_checks, key_checks, model_checks
from streambench.doctor.machine import machine_checks
from streambench.doctor.trials import MAX_TOKENS, Trials, trials_of, try_models

__all__ = [
    "MAX_TOKENS",
    "Check",
    "State",
    "Trials",
    "gateway_checks",
    "key_checks",
    "machine_checks",
    "model_checks",
    "trials_of",
    "try_models",
]
