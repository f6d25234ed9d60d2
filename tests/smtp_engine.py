"""A scripted session around the SMTP engine: answers every event as a small server would, keeps what it was given."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from postoffice.sasl.login import Login
from postoffice.sasl.mechanism import Challenge, CheckPassword, Malformed, Mechanism, NeedVerifier, Proved, Step
from postoffice.sasl.plain import Plain
from postoffice.sasl.scram import ScramSha256, make_scram_verifier
from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol import reply as replies
from postoffice.smtp.protocol.events import Event, Reply
from postoffice.smtp.protocol.extensions import EngineConfig
from postoffice.smtp.protocol.server import ServerEngine

CONFIG = EngineConfig("mail.example.test", mechanisms=("SCRAM-SHA-256", "PLAIN", "LOGIN"))

# The only account, and what RFC 7677 §3 has the server say.
LOGIN, PASSWORD = "user", "pencil"
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT, ITERATIONS = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096
KEYS = make_scram_verifier(PASSWORD, SALT, ITERATIONS)


def build_config(words: Iterable[str], config: EngineConfig = CONFIG) -> EngineConfig:
    """The configuration that words name: ``require_auth``, ``no-starttls``, ``off:NAME`` (a command and its
    extension), ``message_size=N``, ``mechanisms=A,B``. ``tls`` is for the server, see `open_server`."""
    for word in words:
        name, _equals, value = word.partition("=")
        if word == "require_auth":
            config = replace(config, require_auth=True)
        elif word == "no-starttls":
            config = replace(config, starttls=False)
        elif word.startswith("off:"):
            off = word.removeprefix("off:")
            config = replace(config, verbs=config.verbs - {off}, extensions=config.extensions - {off})
        elif name == "message_size":
            config = replace(config, limits=replace(config.limits, message_size=int(value)))
        elif name == "mechanisms":
            config = replace(config, mechanisms=tuple(value.split(",")) if value else ())
        elif word != "tls":
            raise ValueError(f"unknown word {word!r}")
    return config


class ScriptedServer:
    """A `testing.dialogues.Peer`. ``nobody@`` is refused, ``full`` in the body is refused after the dot."""

    def __init__(self, config: EngineConfig = CONFIG, *, tls: bool = False, greeted: bool = True) -> None:
        self.engine = ServerEngine(config)
        self.events: list[Event] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.closed = False
        self._out = bytearray()
        self._sender = ""
        self._recipients: list[str] = []
        self._pieces: list[bytes] = []
        self._mechanism: Mechanism = Plain()
        self._final = b""                       # SCRAM's last word is on its way
        if tls:
            self.engine.tls_started()
        if greeted:
            self.greet()

    def greet(self) -> None:
        self._out += self.engine.greet(Reply(220, "", ("mail.example.test ESMTP",)))
        self.send(b"")

    def send(self, data: bytes) -> None:
        self.engine.receive(data)
        while not self.closed and (event := self.engine.next_event()) is not None:
            self.events.append(event)
            self._out += self._answer(event)

    def read_line(self) -> bytes | None:
        end = self._out.find(b"\n")
        if end < 0:
            assert self.closed, "the server says nothing and has not closed"
            return None
        line = bytes(self._out[: end + 1])
        del self._out[: end + 1]
        return line

    def take_output(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def take_codes(self) -> list[str]:
        """The codes of all replies since the last call."""
        return [line[:3] for line in self.take_output().decode("ascii").splitlines() if line[3:4] != "-"]

    def _answer(self, event: Event) -> bytes:
        engine = self.engine
        match event:
            case ev.Hello():
                return engine.accept_hello("greets you")
            case ev.Mail():
                self._sender, self._recipients, self._pieces = str(event.sender or ""), [], []
                return engine.reply(replies.SENDER_OK)
            case ev.Rcpt():
                if event.address.local == "nobody":
                    return engine.reply(Reply(550, "5.1.1", ("No such user",)))
                self._recipients.append(str(event.address))
                return engine.reply(replies.RECIPIENT_OK)
            case ev.Data():
                return engine.reply(replies.START_DATA)
            case ev.BodyStart():
                if self._sender == "memory@example.org":
                    return engine.reply(Reply(452, "4.3.1", ("Too much mail at once",)))
                engine.proceed()
                return b""
            case ev.BodyBytes():
                self._pieces += event.chunks
                return b""
            case ev.BodyEnd():
                body = b"".join([*self._pieces, *event.chunks])
                assert len(body) == event.size
                if b"full" in body:
                    return engine.reply(Reply(452, "4.2.2", ("Mailbox full",)))
                self.messages.append((self._sender, self._recipients, body))
                return engine.reply(replies.OK)
            case ev.ChunkDone():
                return engine.reply(Reply(250, "2.0.0", (f"{event.size} bytes taken",)))
            case ev.Auth():
                self._mechanism = _MAKERS[event.mechanism]()
                self._final = b""
                return self._go_on(self._mechanism.take(event.initial))
            case ev.AuthResponse():
                if event.data is None:
                    return engine.auth_done(replies.SIGN_IN_CANCELLED, ok=False)
                if self._final:
                    return engine.auth_done(replies.SIGNED_IN, ok=True)
                return self._go_on(self._mechanism.take(event.data))
            case ev.StartTls():
                out = engine.reply(replies.READY_FOR_TLS)
                engine.tls_started()
                return out
            case ev.Verify():
                return engine.reply(replies.CANNOT_VERIFY)
            case ev.Expand():
                return engine.reply(Reply(250, "2.1.5", ("Taro <taro@example.test>", "Hanako <hanako@example.test>")))
            case ev.BodyRefused() | ev.Simple() | ev.Refused() | ev.Violation():
                self.closed = self.closed or event.reply.close
                return engine.reply(event.reply)
        raise AssertionError(event)

    def _go_on(self, step: Step) -> bytes:
        if isinstance(step, NeedVerifier):
            step = self._mechanism.supply(SALT, ITERATIONS, *KEYS)
        match step:
            case Challenge():
                return self.engine.challenge(step.data)
            case CheckPassword(login="user", password="pencil"):
                return self.engine.auth_done(replies.SIGNED_IN, ok=True)
            case Proved(login="user", ok=True):
                self._final = step.final
                return self.engine.challenge(step.final)
            case Malformed():
                return self.engine.auth_done(replies.SIGN_IN_MALFORMED, ok=False)
        return self.engine.auth_done(replies.SIGN_IN_WRONG, ok=False)


_MAKERS: Mapping[str, Callable[[], Mechanism]] = {
    "PLAIN": Plain, "LOGIN": Login, "SCRAM-SHA-256": lambda: ScramSha256(NONCE),
}


def open_server(words: Iterable[str]) -> ScriptedServer:
    """A server as words describe it: see `build_config`."""
    words = tuple(words)
    return ScriptedServer(build_config(words), tls="tls" in words)


def converse(data: bytes, *, config: EngineConfig = CONFIG, by: int = 0) -> ScriptedServer:
    """Say all of ``data``, line by line as a client that waits for each answer would (``by`` 0), or by so many bytes."""
    server = ScriptedServer(config)
    pieces = data.splitlines(keepends=True) if not by else [data[i : i + by] for i in range(0, len(data), by)]
    for piece in pieces:
        if server.closed:
            break
        server.send(piece)
    return server
