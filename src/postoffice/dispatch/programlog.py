"""The program's own log: tracebacks and warnings of the processes, for whoever repairs the program.

In the background it is ``<LogDir>/errors.log`` (opened by name again when somebody moves it away), in the foreground
stderr. What mail and administrators do is not here but in the plain log and the trace.
"""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path

NAME = "errors.log"
_FORMAT = "%(asctime)s {name}[%(process)d] %(levelname)s %(name)s: %(message)s"


class LastError(logging.Handler):
    """Remembers the last error for `postoffice status`."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            self.text += f": {record.exc_info[1]!r}"


class ProgramLog:
    """Where this process's log goes. ``directory`` None: stderr."""

    def __init__(self, name: str, directory: Path | None) -> None:
        self._formatter = logging.Formatter(_FORMAT.format(name=name))
        self._directory = directory
        self._handler = self._make_handler(directory)
        self.last_error = LastError()
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.addHandler(self._handler)
        root.addHandler(self.last_error)
        logging.captureWarnings(True)

    def move(self, directory: Path) -> None:
        """Write to another directory from now on. Nothing happens in the foreground."""
        if self._directory is None or directory == self._directory:
            return
        try:
            handler = self._make_handler(directory)
        except OSError as error:
            logging.getLogger(__name__).error("%s cannot be written: %s", directory / NAME, error)
            return
        root = logging.getLogger()
        root.removeHandler(self._handler)
        self._handler.close()
        root.addHandler(handler)
        self._handler, self._directory = handler, directory

    def _make_handler(self, directory: Path | None) -> logging.Handler:
        handler: logging.Handler
        if directory is None:
            handler = logging.StreamHandler(sys.stderr)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            handler = WatchedFileHandler(directory / NAME, encoding="utf-8")
        handler.setFormatter(self._formatter)
        return handler


def redirect_output(directory: Path) -> None:
    """What a dying interpreter still writes goes to the same file. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
