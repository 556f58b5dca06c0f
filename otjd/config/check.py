"""What `otjd check` says about a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from otjd.config.loader import Loaded


def report(loaded: Loaded, more_problems: Sequence[str] = (),
           more_warnings: Sequence[str] = ()) -> tuple[list[str], int]:
    """The lines to print, problems first, and the exit code: 0 clean, 1 problems. Warnings do not change it.

    `more_problems` and `more_warnings` are what others found in a configuration that could be read.
    """
    problems = [*map(str, loaded.problems), *more_problems]
    warnings = [*map(str, loaded.warnings), *more_warnings]
    lines = [f"problem: {problem}" for problem in problems]
    lines += [f"warning: {warning}" for warning in warnings]
    if loaded.config is None or problems:
        lines.append(f"{_count(len(problems), 'problem')}, {_count(len(warnings), 'warning')}: "
                     "the configuration cannot be used")
        return lines, 1
    config = loaded.config
    parts = (_count(len(config.integrations), "integration"), _count(len(config.profiles), "profile"),
             _count(len(config.endpoint_groups), "endpoint group"), _count(len(config.endpoints), "endpoint"),
             _count(len(config.rules), "rule"))
    lines.append(f"no problems, {_count(len(warnings), 'warning')}: {', '.join(parts)}")
    return lines, 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
