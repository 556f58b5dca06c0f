"""Fuzzes one target with atheris: `python -m tests.fuzz.run TARGET FOLDER [options of libFuzzer]`.

FOLDER keeps what leads to new paths through the code, from one run to the next.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import atheris
from twisted.logger import ILogObserver, LogLevel, globalLogBeginner
from zope.interface import provider

with atheris.instrument_imports(include=["otjd.protocol", "otjd.serve", "twisted.web.http"]):
    from tests.fuzz.targets import SEEDS, TARGETS

LONGEST = 4096


def main() -> None:
    """Run until an option of libFuzzer, or a finding, ends it."""
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"usage: python -m tests.fuzz.run TARGET FOLDER [options]; TARGET is one of "
                         f"{', '.join(TARGETS)}")
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[name]:
        (folder / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
    findings: list[Any] = []

    @provider(ILogObserver)
    def observe(event: Any) -> None:
        if "log_failure" in event or event["log_level"] in (LogLevel.error, LogLevel.critical):
            findings.append(event)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
    target = TARGETS[name]

    def once(data: bytes) -> None:
        target(data)
        if findings:  # an exception that was caught and logged is a finding too
            raise AssertionError(findings[0])

    # what is found is left where it is looked for
    atheris.Setup([sys.argv[0], str(folder), f"-max_len={LONGEST}", f"-artifact_prefix={folder}/finding-",
                   *sys.argv[3:]], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
