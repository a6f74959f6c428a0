"""Builds the headers of a run and of its resumed parts: what is measured, and the versions and host in use."""

from __future__ import annotations

import platform
from importlib.metadata import version

from streambench.client.client import Client
from streambench.clock import Anchor
from streambench.config.origin import Origin
from streambench.records.schema import SCHEMA, Resumption, RunHeader, Stamps
from streambench.runner.job import Job
from streambench.runner.resume import Continued

PACKAGES = ("openai", "httpx2", "httptools", "msgspec", "asyncio-throttle", "pandas", "pydantic")
"""Packages whose versions are recorded in a header."""


def resumption_of(continued: Continued, origin: Origin, stamps: Stamps, anchor: Anchor) -> Resumption:
    """Returns the header of a resumed run's next part."""
    return Resumption(
        segment=continued.segment,
        wall_ns=anchor.wall_ns,
        monotonic_ns=anchor.monotonic_ns,
        requests_missing=len(continued.left.plan.measure),
        stamps=stamps,
        versions=_versions(),
        host=_host(),
        config_file=origin.config_file,
        overrides=origin.overrides,
        changed=origin.changed,
    )


def header_of(job: Job, client: Client, anchor: Anchor) -> RunHeader:
    """Returns the header of a new run. Secrets of the config are masked."""
    config = job.config
    return RunHeader(
        schema=SCHEMA,
        run_id="",  # the journal sets it to the folder's name
        name=config.name,
        wall_ns=anchor.wall_ns,
        monotonic_ns=anchor.monotonic_ns,
        seed=config.seed,
        config=config.masked(),
        suite={
            "name": config.suite.name,
            "hash": config.suite.hash,
            "prompts": len(config.suite.prompts),
            "catalogue": config.catalogue(),
        },
        requests_planned=len(job.plan.measure),
        simulated=job.simulated,
        stamps=client.stamps,
        versions=_versions(),
        host=_host(),
        config_file=job.origin.config_file,
        overrides=job.origin.overrides,
        trace=job.trace,
        folder=job.origin.folder,
    )


def _versions() -> dict[str, str]:
    ours = {"streambench": version("streambench"), "python": platform.python_version()}
    return ours | {package: version(package) for package in PACKAGES}


def _host() -> dict[str, str]:
    return {"system": platform.system(), "release": platform.release(), "machine": platform.machine()}
