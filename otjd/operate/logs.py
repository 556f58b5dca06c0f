"""Where log events go: the level, the format and the file that `[log]` asks for.

`LogOutput` is what `twistd` is given; the composition root sets it as the ILogObserver of the application before
`twistd` starts to log, and tells it on SIGHUP to open its file anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Lock
from typing import Protocol, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from otjd.operate.log_lines import json_line, text_line

FORMATS = {"text": text_line, "json": json_line}
LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class Writer(Protocol):
    """The part of a text file that is needed here."""

    def write(self, text: str, /) -> object:
        """Write `text`."""
        ...

    def flush(self) -> object:
        """Let what was written leave the process."""
        ...


class LogFile:
    """A file that is appended to, made with mode 0640; follows its name when logrotate moved it.

    :raises OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # a daemon changes its folder
        self._lock = Lock()  # threads log too
        self._complained = False
        self._file, self._identity = self._open()

    def write(self, text: str) -> None:
        """Append `text`; where the file was moved or removed, to a new one of the same name."""
        with self._lock:
            if self._was_moved():
                self._open_anew()
            self._file.write(text)

    def flush(self) -> None:
        """Let what was written leave the process."""
        with self._lock:
            self._file.flush()

    def reopen(self) -> None:
        """Open the file by its name again.

        :raises OSError: that is not possible; the file that was open stays in use.
        """
        with self._lock:
            self._swap()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _open(self) -> tuple[TextIO, tuple[int, int]]:
        number = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        status = os.fstat(number)
        return (os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace"),
                (status.st_dev, status.st_ino))

    def _was_moved(self) -> bool:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False  # no way to tell: keep to what is open
        return (status.st_dev, status.st_ino) != self._identity

    def _open_anew(self) -> None:
        try:
            self._swap()
        except OSError as error:  # the log itself is what fails here: keep to the moved file and say so in it
            if not self._complained:
                self._file.write(f"{self.path} cannot be opened, this file is written on: {error}\n")
            self._complained = True

    def _swap(self) -> None:
        file, identity = self._open()
        self._file.close()
        self._file, self._identity = file, identity
        self._complained = False


@implementer(ILogObserver)
class LineObserver:
    """Writes the events of `level` and above as lines.

    :raises ValueError: an unknown level or format.
    """

    def __init__(self, level: str, log_format: str, out_file: Writer) -> None:
        if level not in LEVELS:
            raise ValueError(f"[log] level is {level!r}; expected one of {', '.join(LEVELS)}")
        if log_format not in FORMATS:
            raise ValueError(f"[log] format is {log_format!r}; expected one of {', '.join(FORMATS)}")
        self._level = LEVELS[level]
        self._line = FORMATS[log_format]
        self._out_file = out_file

    def __call__(self, event: LogEvent) -> None:
        """Write one event, if it is to be written."""
        if (event.get("log_level") or LogLevel.info) >= self._level:
            line = self._line(event)
            if line:
                self._out_file.write(line)
                self._out_file.flush()


def observer(level: str, log_format: str, out_file: Writer) -> ILogObserver:
    """What writes events to `out_file`; see LineObserver."""
    return LineObserver(level, log_format, out_file)


@implementer(ILogObserver)
class LogOutput:
    """The log of the process. Without `path` it goes to `stream`, by default what is stdout now.

    :raises ValueError: an unknown level or format.
    :raises OSError: the file cannot be opened.
    """

    def __init__(self, *, level: str = "info", log_format: str = "text", path: Path | None = None,
                 stream: TextIO | None = None) -> None:
        # twistd replaces sys.stdout by one that logs
        self._stream = sys.stdout if stream is None else stream
        self._file: LogFile | None = None
        self.configure(level=level, log_format=log_format, path=path)

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        self._observer(event)

    def configure(self, *, level: str, log_format: str, path: Path | None) -> None:
        """Log so from now on; the file is opened anew. Where this raises, everything stays as it was.

        :raises ValueError: an unknown level or format.
        :raises OSError: the file cannot be opened.
        """
        file = None if path is None else LogFile(path)
        try:
            self._observer = observer(level, log_format, file or _Encodable(self._stream))
        except ValueError:
            if file is not None:
                file.close()
            raise
        self.close()
        self._file = file

    def reopen(self) -> None:
        """Open the file by its name again, as after a rotation.

        :raises OSError: that is not possible; the file that was open stays in use.
        """
        if self._file is not None:
            self._file.reopen()

    def close(self) -> None:
        """Close the file; a stream is left open."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _Encodable:
    """A text stream that takes every character, whatever its encoding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        self._stream.flush()
