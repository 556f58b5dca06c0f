"""The composition root: `twistd otjd`. The only module that imports the reactor."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, cast

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, Logger
from twisted.python import usage

from otjd.config.check import report
from otjd.config.loader import load
from otjd.config.model import Config
from otjd.descriptors import connections_that_fit, make_room
from otjd.listeners import CannotOpenError
from otjd.node import Node
from otjd.operate.logs import LogOutput
from otjd.seam import deferred
from otjd.steady import make_steady
from otjd.wiring import rule_problems


class Options(usage.Options):
    """Options of `twistd otjd`."""

    optParameters = [  # noqa: N815, RUF012 - the name and shape that twisted.python.usage asks for
        ["config", "c", "etc/otjd.toml", "The configuration file."],
    ]
    longdesc = ("An open one-touch-join service: reads room calendars and gives Poly and Cisco endpoints "
                "their meetings with a Join button.")


class OtjdService(MultiService):
    """The node as a Twisted service: starts and stops it, and reads the configuration again on SIGHUP."""

    _log = Logger()

    def __init__(self, config_path: Path, config: Config, log_output: LogOutput | None,
                 twistd_options: usage.Options | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from twisted.internet import reactor

        make_steady(reactor)  # before anything of ours is timed
        self._reactor = cast("Any", reactor)
        self._config_path = config_path
        self._log_output = log_output
        self._twistd_options = twistd_options
        _make_room(config)
        self.node = Node(config, self._reactor)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join the application, and give it the log that the configuration asks for."""
        if self._log_output is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._log_output)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Open the listeners while ports below 1024 may still be opened."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.node.listen()
        except CannotOpenError as error:
            self._log.critical("otjd cannot start: {error}", error=error)
            raise SystemExit(1) from None

    def startService(self) -> None:
        """Start everything."""
        super().startService()  # type: ignore[no-untyped-call]
        cast("IReactorCore", self._reactor).callWhenRunning(self._catch_reload_signal)
        deferred(self.node.start()).addErrback(self._start_failed)

    def stopService(self) -> Deferred[Any]:
        """Stop everything; nothing that was received is lost."""
        super().stopService()  # type: ignore[no-untyped-call]
        return deferred(self.node.stop())

    def reload(self) -> Deferred[None]:
        """Read the configuration again: valid, it takes over; invalid, the old one stays and an alarm says so."""
        loaded = load(self._config_path, environ=os.environ)
        if loaded.config is not None:
            _make_room(loaded.config)
        return deferred(self.node.reload(loaded, self._log_anew))

    def _log_anew(self, config: Config) -> None:
        """Log as this configuration asks for; the file is opened by its name again.

        :raises OSError: the log file cannot be opened; the old one stays in use.
        """
        if self._log_output is not None:
            self._log_output.configure(level=config.log.level, log_format=config.log.format,
                                       path=log_path(config, self._twistd_options))

    def _catch_reload_signal(self) -> None:
        def caught(_signal: int, _frame: FrameType | None) -> None:
            self._reactor.callFromThread(self.reload)

        signal.signal(signal.SIGHUP, caught)

    def _start_failed(self, failure: Any) -> None:
        self._log.failure("otjd could not start", failure=failure)
        self._reactor.stop()


def _make_room(config: Config) -> None:
    wanted = config.calendar_service.limits.connections
    make_room(wanted)
    if (fit := connections_that_fit()) < wanted:
        OtjdService._log.warn("The system lets this process hold {fit} connections of endpoints, fewer than the "
                              "{wanted} of calendar_service.limits.connections; raise LimitNOFILE= of the unit, "
                              "or ulimit -n", fit=fit, wanted=wanted)


def log_path(config: Config, twistd_options: usage.Options | None) -> Path | None:
    """The file to log to: the configuration's, else what `twistd` decides; None for stdout."""
    if config.log.file is not None:
        return config.log.file
    told = dict(twistd_options) if twistd_options else {"nodaemon": True}
    name = told.get("logfile") or ("-" if told.get("nodaemon") else "twistd.log")
    return None if name == "-" else Path(cast("str", name)).absolute()


def log_output(config: Config, twistd_options: usage.Options | None) -> LogOutput | None:
    """The log that the configuration asks for; None where `twistd` was told of another one."""
    if twistd_options and (twistd_options.get("syslog") or twistd_options.get("logger")):
        return None
    return LogOutput(level=config.log.level, log_format=config.log.format,
                     path=log_path(config, twistd_options))


def makeService(options: Options) -> OtjdService:
    """The service for `twistd`; a configuration that has problems ends with all of them printed."""
    path = Path(options["config"]).absolute()
    loaded = load(path, environ=os.environ)
    lines, code = report(loaded, rule_problems(loaded.config, path) if loaded.config else ())
    if loaded.config is None or code:
        sys.stderr.write("\n".join(lines) + "\n")
        raise SystemExit(code)
    try:
        output = log_output(loaded.config, options.parent)
    except OSError as error:
        where = f"{path}: log.file" if loaded.config.log.file is not None else "the log file of twistd"
        sys.stderr.write(f"problem: {where}: found {error.filename}, which cannot be opened: {error.strerror}; "
                         "expected a file that this user may write\n")
        raise SystemExit(1) from None
    service = OtjdService(path, loaded.config, output, options.parent)
    service.node.warn(loaded.warnings)
    return service
