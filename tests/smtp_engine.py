"""A scripted session around the SMTP engine: answers every event as a small server would, keeps what it was given."""

from __future__ import annotations

from postoffice.sasl.mechanism import Challenge, CheckPassword
from postoffice.sasl.plain import Plain
from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol import reply as replies
from postoffice.smtp.protocol.events import Event, Reply
from postoffice.smtp.protocol.extensions import EngineConfig
from postoffice.smtp.protocol.server import ServerEngine

CONFIG = EngineConfig("mail.example.test", mechanisms=("PLAIN",))


class ScriptedServer:
    """A `testing.dialogues.Peer`. ``nobody@`` is refused, ``full`` in the body is refused after the dot."""

    def __init__(self, config: EngineConfig = CONFIG) -> None:
        self.engine = ServerEngine(config)
        self.events: list[Event] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.closed = False
        self._out = bytearray(self.engine.greet(Reply(220, "", ("mail.example.test ESMTP",))))
        self._sender = ""
        self._recipients: list[str] = []
        self._pieces: list[bytes] = []
        self._plain = Plain()

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
                return engine.reply(replies.OK)
            case ev.Auth(mechanism="PLAIN"):
                return self._go_on(self._plain.take(event.initial))
            case ev.AuthResponse():
                if event.data is None:
                    return engine.auth_done(replies.SIGN_IN_CANCELLED, ok=False)
                return self._go_on(self._plain.take(event.data))
            case ev.StartTls():
                out = engine.reply(replies.READY_FOR_TLS)
                engine.tls_started()
                return out
            case ev.Verify() | ev.Expand():
                return engine.reply(replies.CANNOT_VERIFY)
            case ev.BodyRefused() | ev.Simple() | ev.Refused() | ev.Violation():
                self.closed = self.closed or event.reply.close
                return engine.reply(event.reply)
        raise AssertionError(event)

    def _go_on(self, step: object) -> bytes:
        match step:
            case Challenge():
                return self.engine.challenge(step.data)
            case CheckPassword(password="secret"):
                return self.engine.auth_done(replies.SIGNED_IN, ok=True)
        return self.engine.auth_done(Reply(535, "5.7.8", ("Wrong name or password",)), ok=False)


def converse(data: bytes, *, config: EngineConfig = CONFIG, by: int = 0) -> ScriptedServer:
    """Say all of ``data``, line by line as a client that waits for each answer would (``by`` 0), or by so many bytes."""
    server = ScriptedServer(config)
    pieces = data.splitlines(keepends=True) if not by else [data[i : i + by] for i in range(0, len(data), by)]
    for piece in pieces:
        if server.closed:
            break
        server.send(piece)
    return server
