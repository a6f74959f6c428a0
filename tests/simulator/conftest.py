"""Simulators on models that a test states."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streambench.simulator.process import SimulatorProcess

from .client import Client, Start


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a simulator on the models given as YAML; all are stopped with the module."""
    running: list[SimulatorProcess] = []

    def start_one(models: str, seed: int = 0) -> Client:
        folder = tmp_path_factory.mktemp("simulator")
        path, truth = folder / "models.yaml", folder / "truth.jsonl"
        path.write_text(models)
        process = SimulatorProcess(path, seed=seed, truth=truth)
        running.append(process)
        process.start()
        return Client(process, truth)

    yield start_one
    for process in running:
        process.stop()
