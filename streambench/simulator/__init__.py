"""The embedded OpenAI-compatible gateway: seeded delays, faults by name, and the truth about its own writes.

It runs as a process of its own (`process.SimulatorProcess`), so that what it costs is not the client's lateness.
A request goes gateway -> answer (drawn) -> frames (events) -> faults -> script (bytes, due times) -> pacer -> socket.
"""

from __future__ import annotations

from streambench.simulator.command import main
from streambench.simulator.process import SimulatorProcess

__all__ = ["SimulatorProcess", "main"]
