"""What `otjd check` says about a configuration."""

from __future__ import annotations

from otjd.config.loader import Loaded


def report(loaded: Loaded) -> tuple[list[str], int]:
    """The lines to print, problems first, and the exit code: 0 clean, 1 problems. Warnings do not change it."""
    lines = [f"problem: {problem}" for problem in loaded.problems]
    lines += [f"warning: {warning}" for warning in loaded.warnings]
    if loaded.config is None:
        lines.append(f"{_count(len(loaded.problems), 'problem')}, {_count(len(loaded.warnings), 'warning')}: "
                     "the configuration cannot be used")
        return lines, 1
    config = loaded.config
    parts = (_count(len(config.integrations), "integration"), _count(len(config.profiles), "profile"),
             _count(len(config.endpoint_groups), "endpoint group"), _count(len(config.endpoints), "endpoint"),
             _count(len(config.rules), "rule"))
    lines.append(f"no problems, {_count(len(loaded.warnings), 'warning')}: {', '.join(parts)}")
    return lines, 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
