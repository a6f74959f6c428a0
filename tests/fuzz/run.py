"""Search for bytes that break the stream reader, guided by the code they reach: `make fuzz`, or

    python tests/fuzz/run.py --seconds 600      searches; what it learns is kept in .cache/fuzz for the next time
    python tests/fuzz/run.py FILE ...           checks these inputs, such as a crash that was found

A crash is written to tests/fuzz/crashes. Once mended, its file goes to tests/fuzz/corpus, where every test run replays
it. Beside the corpus, words.dict gives the fuzzer what it would take long to guess.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEARNT = ROOT / ".cache" / "fuzz"
CRASHES = HERE / "crashes"
LONGEST_INPUT = 4_096
SLOWEST_INPUT_S = 10
MEMORY_MB = 1_024
MISSING = f"the fuzzer is not installed: {sys.executable} -m pip install 'atheris>=3' (or the project's extra: fuzz)"


def search(seconds: int, more: Sequence[str]) -> None:
    """Does not return: the fuzzer ends the process, with a code that is not 0 where it found something."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        raise SystemExit(MISSING) from None
    for folder in (LEARNT, CRASHES):
        folder.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["streambench"]):
        target = importlib.import_module("stream_target")
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={SLOWEST_INPUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-dict={HERE / 'words.dict'}",
        f"-artifact_prefix={CRASHES}/",
        "-print_final_stats=1",
        *more,
    ]
    atheris.Setup([sys.argv[0], *options, str(LEARNT), str(HERE / "corpus")], target.check)
    atheris.Fuzz()


def replay(files: Sequence[Path]) -> None:
    """Each input once; the first that breaks something ends it with its traceback."""
    target = importlib.import_module("stream_target")
    for file in files:
        print(file, flush=True)
        target.check(file.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the stream reader.", epilog="Options of libFuzzer go after --.")
    parser.add_argument("--seconds", type=int, default=600, help="how long to search (default: %(default)s)")
    parser.add_argument("inputs", nargs="*", help="inputs to check, in place of a search")
    wanted = parser.parse_args()
    options = [text for text in wanted.inputs if text.startswith("-")]
    files = [Path(text) for text in wanted.inputs if not text.startswith("-")]
    replay(files) if files else search(wanted.seconds, options)


if __name__ == "__main__":
    main()
