"""The `otjd` command; thin: each subcommand calls the part that does the work."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from otjd import __version__
from otjd.config.check import report
from otjd.config.loader import Loaded, load
from otjd.config.model import Config

DEFAULT_STATUS_URL = "http://127.0.0.1:8080"


def _write(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def _load(path: str) -> Loaded:
    return load(Path(path).absolute(), environ=os.environ)


def _refuse(loaded: Loaded) -> int:
    lines, code = report(loaded)
    sys.stderr.write("\n".join(lines) + "\n")
    return code


def _check(options: argparse.Namespace) -> int:
    from otjd.wiring import notices, rule_problems

    if options.json and not options.live:
        sys.stderr.write("otjd check: --json goes with --live\n")
        return 2
    loaded = _load(options.config)
    broken: list[str] = []
    missing: list[str] = []
    if loaded.config is not None:
        broken = rule_problems(loaded.config, Path(options.config).absolute())
        missing = notices(loaded.config)
    lines, code = report(loaded, broken, missing)
    if not options.json:
        _write("\n".join(lines))
    elif code:
        sys.stderr.write("\n".join(lines) + "\n")
    if code or not options.live or loaded.config is None:
        return code
    return _check_live(options, loaded.config)


def _check_live(options: argparse.Namespace, config: Config) -> int:
    from datetime import UTC, datetime

    from rich.console import Console

    from otjd.live.command import Terminal, run

    terminal = Terminal(_write, sys.stderr.write, Console(stderr=True) if sys.stderr.isatty() else None)
    return _on_the_reactor(lambda o, reactor: run(
        config, o.config, reactor, lambda: datetime.now(UTC), terminal, as_json=o.json), options)


def _rules_test(options: argparse.Namespace) -> int:
    from otjd.gather.invitation_files import SIZE_LIMIT
    from otjd.rules_test import Trial, run
    from otjd.wiring import rules_of

    loaded = _load(options.config)
    if loaded.config is None:
        _refuse(loaded)
        return 2  # 1 says that an invitation has no alias
    if options.profile not in {p.name for p in loaded.config.profiles}:
        known = ", ".join(p.name for p in loaded.config.profiles) or "none"
        sys.stderr.write(f"otjd: no profile is named {options.profile!r}; the configuration has: {known}\n")
        return 2

    def read(name: str) -> bytes:
        if name == "-":
            return sys.stdin.buffer.read(SIZE_LIMIT + 1)
        with Path(name).open("rb") as file:
            return file.read(SIZE_LIMIT + 1)

    trial = Trial(options.rule, as_json=options.json, explain=options.explain)
    return run(rules_of(loaded.config, options.profile), trial, options.invitations, read=read, write=_write,
               clock=time.thread_time)


def _rules_import(options: argparse.Namespace) -> int:
    from otjd.rules_import import run

    try:
        content = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        sys.stderr.write(f"otjd: {options.file} cannot be read: {error.strerror}\n")
        return 2
    return run(content, options.profiles or ["default"], write=_write, complain=sys.stderr.write)


def _status(options: argparse.Namespace) -> int:
    from otjd.operate.tables import fetch, status_command

    return status_command(options.url, options.json, fetch=fetch, write=_write)


def _authorize(options: argparse.Namespace) -> int:
    from otjd.authorize import Terminal, run

    loaded = _load(options.config)
    if loaded.config is None:
        return _refuse(loaded)
    config, terminal = loaded.config, Terminal(_write, sys.stderr.write)
    return _on_the_reactor(lambda o, reactor: run(config, o.name, reactor, terminal), options)


def _on_the_reactor(run: Callable[[argparse.Namespace, Any], Any], options: argparse.Namespace) -> int:
    from twisted.internet.task import react

    try:
        react(lambda reactor: run(options, reactor))
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from otjd.demo import run_demo

    return _on_the_reactor(run_demo, options)


def _simulate(options: argparse.Namespace) -> int:
    from otjd.simulate.commands import run_codec, run_poly
    from otjd.simulate.exchange_command import run_exchange
    from otjd.simulate.google_command import run_google
    from otjd.simulate.graph_command import run_graph

    runs = {"codec": run_codec, "poly": run_poly, "exchange": run_exchange, "google": run_google,
            "graph": run_graph}
    return _on_the_reactor(runs[options.kind], options)


def _add_simulators(commands: Any) -> None:
    from otjd.simulate.commands import add_parsers
    from otjd.simulate.exchange_command import add_exchange_parser
    from otjd.simulate.google_command import add_google_parser
    from otjd.simulate.graph_command import add_graph_parser

    simulate = commands.add_parser(
        "simulate", help="simulated endpoints and calendar servers, to try a deployment without hardware")
    kinds = simulate.add_subparsers(required=True, metavar="KIND", dest="kind")
    for add in (add_parsers, add_exchange_parser, add_google_parser, add_graph_parser):
        add(kinds)
    simulate.set_defaults(run=_simulate)


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="read the configuration and everything it names, print each problem")
    check.add_argument("--config", required=True, metavar="FILE")
    check.add_argument("--live", action="store_true",
                       help="also contact every integration and endpoint, and tell how to mend what fails")
    check.add_argument("--json", action="store_true", help="with --live: what was found as one document")
    check.set_defaults(run=_check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="otjd", description="An open one-touch-join service.")
    parser.add_argument("--version", action="version", version=f"otjd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_check(commands)

    demo = commands.add_parser("demo", help="watch otjd work over demo calendars with simulated endpoints")
    demo.add_argument("--directory", type=Path, metavar="DIR",
                      help="a folder of <room email>.ics files to show; made with demo calendars if empty")
    demo.add_argument("--calendar-port", type=int, default=0, metavar="N", help="port of the calendar service")
    demo.add_argument("--operator-port", type=int, default=0, metavar="N", help="port of the operator's addresses")
    demo.add_argument("--seconds", type=float, default=0, metavar="S", help="end by itself after so many seconds")
    demo.set_defaults(run=_demo)

    rules = commands.add_parser("rules", help="try out meeting processing rules").add_subparsers(
        required=True, metavar="COMMAND")
    test = rules.add_parser(
        "test", help="print what a profile's rules make of invitations",
        epilog="Exit code: 0 every invitation has an alias, 1 some have none, 2 one or a rule cannot be used.")
    test.add_argument("--config", required=True, metavar="FILE")
    test.add_argument("--profile", required=True, metavar="NAME")
    test.add_argument("--rule", metavar="NAME", help="only this rule, also when it is disabled")
    test.add_argument("--json", action="store_true", help="one line of JSON for each invitation")
    test.add_argument("--explain", action="store_true",
                      help="each rule in its order: where it looked, what it found or why not, its template")
    test.add_argument("invitations", nargs="*", metavar="INVITATION",
                      help=".eml, .msg, .ics, .json, or - for stdin; without one each rule is tried alone on an "
                           "example of its type")
    test.set_defaults(run=_rules_test)

    imported = rules.add_parser("import", help="print rules exported by the vendor's REST API as TOML")
    imported.add_argument("file", metavar="FILE", help="JSON of mjx_meeting_processing_rule, or - for stdin")
    imported.add_argument("--profile", action="append", dest="profiles", metavar="[ID=]NAME",
                          help="profile of the rules (default); where the export is of several, once for each "
                               "with its id there, the number at the end of mjx_integration")
    imported.set_defaults(run=_rules_import)

    authorize = commands.add_parser("authorize", help="sign in to an integration that needs a person's consent")
    authorize.add_argument("name", metavar="NAME", help="name of an Exchange (OAUTH) or Google (user consent) "
                           "integration")
    authorize.add_argument("--config", required=True, metavar="FILE")
    authorize.set_defaults(run=_authorize)

    status = commands.add_parser("status", help="show how a running node is doing")
    status.add_argument("--url", default=DEFAULT_STATUS_URL, help="address of its operator service (%(default)s)")
    status.add_argument("--json", action="store_true", help="the status document as it is")
    status.set_defaults(run=_status)

    _add_simulators(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `otjd` command; ends the process with its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 1  # the reader of the output has gone
    sys.exit(code)
