"""The control socket ``<spool>/control``: commands ask, Dispatch answers, one line of JSON each way.

Owns: the socket file (made anew at each start; a stale one is removed), who may ask (the kernel says who it is: root
or the spool's owner), framing with a bound, requests that wait for their answer. What a request means is the
supervisor's. Never blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAX_LINE = 64 * 1024
_MAX_CLIENTS = 64
_CREDENTIALS = struct.Struct("@iII")            # pid, uid, gid: unix(7), SO_PEERCRED
NAME = "control"

Answer = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Answer], None]


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.to_send = b""


class Control:
    """The listening end. ``handle(request, answer)`` may answer at once or later."""

    def __init__(self, spool: Path, selector: selectors.BaseSelector, handle: Handler) -> None:
        self._spool = spool
        self._selector = selector
        self._handle = handle
        self._clients: set[_Client] = set()
        directory = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            (spool / NAME).unlink(missing_ok=True)
            previous = os.umask(0o177)
            try:
                # A socket's path may have 107 bytes, a spool's more: the way over the descriptor is always short.
                self._listening.bind(f"/proc/self/fd/{directory}/{NAME}")
            finally:
                os.umask(previous)
        finally:
            os.close(directory)
        self._listening.listen(_MAX_CLIENTS)
        self._listening.setblocking(False)
        selector.register(self._listening, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Remove the socket; what is still to be said is said if the client takes it."""
        self._selector.unregister(self._listening)
        self._listening.close()
        (self._spool / NAME).unlink(missing_ok=True)
        for client in list(self._clients):
            client.connection.settimeout(1)
            with contextlib.suppress(OSError):          # it may have gone without waiting
                client.connection.sendall(client.to_send)
            self._drop(client)

    def _accept(self, _mask: int) -> None:
        try:
            connection, _address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, uid, _gid = _CREDENTIALS.unpack(packed)
        if uid not in (0, os.geteuid()) or len(self._clients) >= _MAX_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, lambda mask: self._serve(client, mask))

    def _serve(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._send(client)
            if mask & selectors.EVENT_READ:
                self._receive(client)
        except OSError:
            self._drop(client)                          # it went away

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(65536)
        except BlockingIOError:
            return
        client.received += data
        if not data or len(client.received) > _MAX_LINE:
            self._drop(client)
            return
        while b"\n" in client.received and client in self._clients:
            line, client.received = client.received.split(b"\n", 1)
            try:
                request = json.loads(line)
            except ValueError:
                request = None
            if isinstance(request, dict):
                self._handle(request, lambda answer: self._answer(client, answer))
            else:
                self._answer(client, {"error": "A request is one line with a JSON object."})

    def _answer(self, client: _Client, answer: dict[str, Any]) -> None:
        if client not in self._clients:
            return
        client.to_send += json.dumps(answer, ensure_ascii=False).encode() + b"\n"
        try:
            self._send(client)
        except OSError:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        try:
            sent = client.connection.send(client.to_send)
        except BlockingIOError:
            sent = 0
        client.to_send = client.to_send[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.to_send else 0)
        self._selector.modify(client.connection, wanted, lambda mask: self._serve(client, mask))

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client.connection)
            client.connection.close()
