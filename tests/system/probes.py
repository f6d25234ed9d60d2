"""One probe per live key: the value is changed on a running server and the difference is seen from outside - on the
wire, in a file or in a process. `test_probes` runs them and fails for a live key without one."""

from __future__ import annotations

import contextlib
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.system.rig import Server, find_free_ports, wait_until

Probe = Callable[[Server], None]

PROBES: dict[str, Probe] = {}

# Ports of services that are not served yet, and switches that can only be off, have nothing to be seen.
NO_PROBE_NEEDED = {
    "IMAP4-Server/Config/Socket", "IMAP4-Server/Config/SSLSocket", "WWW-Server/Config/Socket", "WWW-Server/Config/SSLSocket",
    "LDAP-Server/Config/Socket", "Finger-Server/Config/Socket", "Password-Server/Config/Socket",
    "SMTP-Accept/Config/AllowETRN", "SMTP-Accept/Config/AllowONEX", "SMTP-Accept/Config/AllowVERB",
    "SMTP-Accept/Config/DoClientDNSLookup",
    "SMTP-Router/Config/RelayAllow",    # has a meaning only with outgoing mail
}


def probe(path: str) -> Callable[[Probe], Probe]:
    def add(function: Probe) -> Probe:
        PROBES[path] = function
        return function

    return add


@contextlib.contextmanager
def setting(server: Server, path: str, value: str) -> Iterator[None]:
    server.dbedit("-s", path, value)
    try:
        yield
    finally:
        server.dbedit("-d", path)


def ehlo(server: Server) -> smtplib.SMTP:
    client = server.smtp()
    client.ehlo("client.test")
    return client


def command(server: Server, line: str) -> tuple[int, bytes]:
    with ehlo(server) as client:
        return client.docmd(line)


def rcpt(client: smtplib.SMTP, recipient: str, options: str = "") -> tuple[int, bytes]:
    client.mail("someone@sender.test", [options] if options else [])
    return client.rcpt(recipient)


def log_text(server: Server, directory: Path | None = None) -> str:
    return "".join(path.read_text() for path in sorted((directory or server.spool / "log").glob("post.office-*.log")))


# --- SMTP-Accept -----------------------------------------------------------------------------------------------------

P = "SMTP-Accept/Config/"


def _port_probe(path: str, greet: Callable[[int], None]) -> None:
    @probe(path)
    def run(server: Server) -> None:
        port = find_free_ports(1)[0]
        before = server.dbedit("-f", path).stdout.split("[")[1].rstrip("]\n")
        server.dbedit("-s", path, str(port))
        try:
            greet(port)
            with contextlib.closing(socket.socket()) as old:
                assert old.connect_ex(("127.0.0.1", int(before))) != 0, "the old port still answers"
        finally:
            server.dbedit("-s", path, before)
        greet(int(before))


def _greeting(port: int, wanted: bytes, *, tls: bool = False) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as secure:
                assert secure.recv(100).startswith(wanted)
        else:
            assert plain.recv(100).startswith(wanted)


_port_probe(P + "Socket", lambda port: _greeting(port, b"220 "))
_port_probe(P + "SubmissionSocket", lambda port: _greeting(port, b"220 "))
_port_probe(P + "SSLSocket", lambda port: _greeting(port, b"220 ", tls=True))
_port_probe("POP3-Server/Config/Socket", lambda port: _greeting(port, b"+OK"))
_port_probe("POP3-Server/Config/SSLSocket", lambda port: _greeting(port, b"+OK", tls=True))


def _extension_probe(name: str, keyword: str, line: str, off_code: int) -> None:
    @probe(P + name)
    def run(server: Server) -> None:
        with ehlo(server) as client:
            assert client.has_extn(keyword)
        with setting(server, P + name, "no"), ehlo(server) as client:
            assert not client.has_extn(keyword)
            if line:
                assert client.docmd(line)[0] == off_code


_extension_probe("AllowBDAT", "chunking", "BDAT 0 LAST", 502)
_extension_probe("AllowSIZE", "size", "", 0)
_extension_probe("AllowSTARTTLS", "starttls", "STARTTLS", 502)
_extension_probe("AllowHELP", "help", "HELP", 502)
_extension_probe("DoAUTH", "auth", "AUTH PLAIN", 502)


@probe(P + "AllowEHLO")
def _(server: Server) -> None:
    with setting(server, P + "AllowEHLO", "no"), server.smtp() as client:
        assert client.ehlo("client.test")[0] == 502 and client.helo("client.test")[0] == 250


@probe(P + "AllowVRFY")
def _(server: Server) -> None:
    assert command(server, "VRFY yamada@example.test")[0] == 252
    with setting(server, P + "AllowVRFY", "yes"):
        assert command(server, "VRFY yamada@example.test")[0] == 250
        assert command(server, "VRFY nobody@example.test")[0] == 550


@probe(P + "AllowEXPN")
def _(server: Server) -> None:
    assert command(server, "EXPN yamada@example.test")[0] == 502
    with setting(server, P + "AllowEXPN", "yes"):
        assert command(server, "EXPN yamada@example.test")[0] == 250


@probe(P + "HideHostname")
def _(server: Server) -> None:
    with server.smtp() as client:
        assert b"mail.example.test" in client.ehlo("c.test")[1]
    with setting(server, P + "HideHostname", "yes"), server.smtp() as client:
        text = client.ehlo("c.test")[1]
        assert b"mail.example.test" not in text and b"example.test" in text


@probe(P + "HideClientAddress")
def _(server: Server) -> None:
    def received() -> bytes:
        with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=20) as client:
            client.login("yamada@example.test", server.password)
            client.sendmail("yamada@example.test", ["suzuki@example.test"], b"Subject: x\r\n\r\nx\r\n")
        return server.list_messages("suzuki")[-1].split(b"\r\n\r\n")[0]

    assert b"[127.0.0.1]" in received()
    with setting(server, P + "HideClientAddress", "yes"):
        assert b"127.0.0.1" not in received()


@probe(P + "CompatibleBanner")
def _(server: Server) -> None:
    with setting(server, P + "CompatibleBanner", "yes"), socket.create_connection(("127.0.0.1", server.ports["smtp"]), 10) as client:
        assert re.match(rb"220 \S+ ESMTP server \(Post\.Office v\S+ release \S+ ID# \S+\) ready ", client.recv(200))


@probe(P + "MaxBadCommands")
def _(server: Server) -> None:
    with setting(server, P + "MaxBadCommands", "2"), ehlo(server) as client:
        assert client.docmd("NONSENSE")[0] == 500
        assert client.docmd("NONSENSE")[0] == 421


@probe(P + "MessageSize")
def _(server: Server) -> None:
    with setting(server, P + "MessageSize", "1000"), ehlo(server) as client:
        assert client.esmtp_features["size"] == "1000"
        assert client.docmd("MAIL FROM:<a@b.test> SIZE=1001")[0] == 552


@probe(P + "MaxRecipients")
def _(server: Server) -> None:
    with setting(server, P + "MaxRecipients", "1"), ehlo(server) as client:
        assert rcpt(client, "yamada@example.test")[0] == 250
        assert client.rcpt("suzuki@example.test")[0] == 452


@probe(P + "TimeoutCommand")
def _(server: Server) -> None:
    with setting(server, P + "TimeoutCommand", "1"), server.smtp() as client:
        assert client.sock is not None
        assert client.sock.recv(100).startswith(b"421 ")


@probe(P + "TimeoutSession")
def _(server: Server) -> None:
    with setting(server, P + "TimeoutSession", "10"):
        client = server.smtp()
        begin = time.monotonic()
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            while time.monotonic() - begin < 30 and client.noop()[0] == 250:
                select_pause(client, 0.5)
        assert time.monotonic() - begin < 20
        client.close()


def select_pause(client: smtplib.SMTP, seconds: float) -> None:
    """Wait for the server to say something, at most so long."""
    import select

    assert client.sock is not None
    select.select([client.sock], [], [], seconds)


@probe(P + "MaxSessions")
def _(server: Server) -> None:
    with setting(server, P + "MaxSessions", "1"), server.smtp(), \
            socket.create_connection(("127.0.0.1", server.ports["smtp"]), 10) as second:
        assert second.recv(100).startswith(b"421 ")


@probe(P + "MaxSessionsPerClient")
def _(server: Server) -> None:
    with setting(server, P + "MaxSessionsPerClient", "1"), server.smtp(), \
            socket.create_connection(("127.0.0.1", server.ports["smtp"]), 10) as second:
        assert second.recv(100).startswith(b"421 ")


@probe(P + "MaxMemory")
def _(server: Server) -> None:
    # Each message announced reserves its memory; with two processes each has a budget, so more than both hold.
    def count_refused() -> int:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(contextlib.closing(ehlo(server))) for _ in range(6)]
            for client in clients:
                assert rcpt(client, "yamada@example.test", "SIZE=500000")[0] == 250
            codes = [client.docmd("DATA")[0] for client in clients]
            assert set(codes) <= {354, 452}
            for client, code in zip(clients, codes, strict=True):
                if code == 354:         # a message broken off would earn this client delays
                    client.send(b"x\r\n.\r\n")
                    assert client.getreply()[0] == 250
            return codes.count(452)

    assert count_refused() == 0
    with setting(server, P + "MaxMemory", "1048576"):
        assert count_refused() > 0


@probe(P + "MinFreeDisk")
def _(server: Server) -> None:
    with setting(server, P + "MinFreeDisk", "1000T"):
        def full() -> bool:
            with ehlo(server) as client:
                return client.mail("a@b.test")[0] == 452
        wait_until(full, "452 when the disk is said to be full")


@probe(P + "VerifyRcpts")
def _(server: Server) -> None:
    with ehlo(server) as client:
        assert rcpt(client, "nobody@example.test")[0] == 550
    with setting(server, P + "VerifyRcpts", "no"), ehlo(server) as client:
        assert rcpt(client, "nobody@example.test")[0] == 250


@probe(P + "QuotaReply")
def _(server: Server) -> None:
    server.run("account", "set", "suzuki@example.test", "--limit", "10")
    try:
        with ehlo(server) as client:
            assert rcpt(client, "suzuki@example.test", "SIZE=100")[0] == 452
        with setting(server, P + "QuotaReply", "permanent"), ehlo(server) as client:
            assert rcpt(client, "suzuki@example.test", "SIZE=100")[0] == 552
    finally:
        server.run("account", "set", "suzuki@example.test", "--limit", "0")


# --- Dispatch, SMTP-Router, Mailbox-Deliver ----------------------------------------------------------------------


@probe("Dispatch/Config/HostName")
def _(server: Server) -> None:
    before = server.dbedit("-f", "Dispatch/Config/HostName").stdout.split("[")[1].rstrip("]\n")
    server.dbedit("-s", "Dispatch/Config/HostName", "other.example.test")
    try:
        with server.smtp() as client:
            assert b"other.example.test" in client.ehlo("c.test")[1]
    finally:
        server.dbedit("-s", "Dispatch/Config/HostName", before)


@probe("Dispatch/Config/DomainName")
def _(server: Server) -> None:
    server.run("domain", "add", "second.test")
    try:
        with setting(server, P + "HideHostname", "yes"), setting(server, "Dispatch/Config/DomainName", "second.test"), server.smtp() as client:
            assert b"second.test" in client.ehlo("c.test")[1]
    finally:
        server.run("domain", "remove", "second.test")


@probe("Dispatch/Config/ListenAddresses")
def _(server: Server) -> None:
    before = server.dbedit("-f", "Dispatch/Config/ListenAddresses").stdout.split("[")[1].rstrip("]\n")
    server.dbedit("-s", "Dispatch/Config/ListenAddresses", "127.0.0.2")
    try:
        with socket.create_connection(("127.0.0.2", server.ports["smtp"]), 10) as client:
            assert client.recv(10).startswith(b"220")
        with contextlib.closing(socket.socket()) as old:
            assert old.connect_ex(("127.0.0.1", server.ports["smtp"])) != 0
    finally:
        server.dbedit("-s", "Dispatch/Config/ListenAddresses", before)


@probe("SMTP-Router/Config/LocalMailDomains")
def _(server: Server) -> None:
    with ehlo(server) as client:
        assert rcpt(client, "postmaster@third.test")[0] == 550
    before = server.dbedit("-f", "SMTP-Router/Config/LocalMailDomains").stdout.split("[")[1].rstrip("]\n")
    server.dbedit("-s", "SMTP-Router/Config/LocalMailDomains", before + " third.test")
    try:
        with ehlo(server) as client:
            assert rcpt(client, "postmaster@third.test")[0] == 250
    finally:
        server.dbedit("-s", "SMTP-Router/Config/LocalMailDomains", before)


@probe("SMTP-Router/Config/AllowDetail")
def _(server: Server) -> None:
    with ehlo(server) as client:
        assert rcpt(client, "yamada+shop@example.test")[0] == 250
    with setting(server, "SMTP-Router/Config/AllowDetail", "no"), ehlo(server) as client:
        assert rcpt(client, "yamada+shop@example.test")[0] == 550


@probe("SMTP-Router/Config/AddDeliveredTo")
def _(server: Server) -> None:
    server.send("a@b.test", "suzuki@example.test", b"Subject: x\r\n\r\nx\r\n")
    assert b"Delivered-To: suzuki@example.test\r\n" in server.list_messages("suzuki")[-1]
    with setting(server, "SMTP-Router/Config/AddDeliveredTo", "no"):
        server.send("a@b.test", "suzuki@example.test", b"Subject: x\r\n\r\nx\r\n")
        assert b"Delivered-To:" not in server.list_messages("suzuki")[-1]


@probe("Mailbox-Deliver/Config/DefaultMailboxLimit")
def _(server: Server) -> None:
    server.run("account", "add", "limited@example.test", "--name", "Limited", "--password-stdin", data=server.password + "\n")
    try:
        with setting(server, "Mailbox-Deliver/Config/DefaultMailboxLimit", "10"), ehlo(server) as client:
            assert rcpt(client, "limited@example.test", "SIZE=100")[0] == 452
        with ehlo(server) as client:
            assert rcpt(client, "limited@example.test", "SIZE=100")[0] == 250
    finally:
        server.run("account", "remove", "limited@example.test")


# --- POP3-Server -------------------------------------------------------------------------------------------------

Q = "POP3-Server/Config/"


def pop3_greeting(server: Server) -> bytes:
    with socket.create_connection(("127.0.0.1", server.ports["pop3"]), 10) as client:
        return client.recv(300)


@probe(Q + "Enable")
def _(server: Server) -> None:
    with setting(server, Q + "Enable", "no"), contextlib.closing(socket.socket()) as client:
        assert client.connect_ex(("127.0.0.1", server.ports["pop3"])) != 0
    assert pop3_greeting(server).startswith(b"+OK")


@probe(Q + "AllowSTLS")
def _(server: Server) -> None:
    def offers() -> bool:
        client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
        try:
            return "STLS" in client.capa()
        finally:
            client.quit()

    assert offers()
    with setting(server, Q + "AllowSTLS", "no"):
        assert not offers()


@probe(Q + "Banner")
def _(server: Server) -> None:
    with setting(server, Q + "Banner", "Good day from the office"):
        assert b"Good day from the office" in pop3_greeting(server)


@probe(Q + "CompatibleBanner")
def _(server: Server) -> None:
    with setting(server, Q + "CompatibleBanner", "yes"):
        assert re.match(rb"\+OK \S+ POP3 server \(Post\.Office v\S+ release \S+ with ZPOP version \S+", pop3_greeting(server))


@probe(Q + "IdleTimeout")
def _(server: Server) -> None:
    with setting(server, Q + "IdleTimeout", "10"), socket.create_connection(("127.0.0.1", server.ports["pop3"]), 30) as client:
        begin, data = time.monotonic(), b""
        while chunk := client.recv(300):
            data += chunk
        assert 8 < time.monotonic() - begin < 20, data


@probe(Q + "MaxSessions")
def _(server: Server) -> None:
    with setting(server, Q + "MaxSessions", "1"), socket.create_connection(("127.0.0.1", server.ports["pop3"]), 10) as first:
        assert first.recv(100).startswith(b"+OK")
        assert pop3_greeting(server).startswith(b"-ERR")


@probe(Q + "MaxSessionsPerClient")
def _(server: Server) -> None:
    with setting(server, Q + "MaxSessionsPerClient", "1"), socket.create_connection(("127.0.0.1", server.ports["pop3"]), 10) as first:
        assert first.recv(100).startswith(b"+OK")
        assert pop3_greeting(server).startswith(b"-ERR")


def pop3_refused(server: Server) -> bool:
    try:
        server.pop3("yamada").quit()
    except poplib.error_proto:
        return True
    return False


@probe(Q + "POPMinPoll")
def _(server: Server) -> None:
    with setting(server, Q + "POPMinPoll", "3600"):
        server.pop3("suzuki").quit() if not pop3_refused(server) else None
        assert pop3_refused(server)


@probe(Q + "DomainAllowed")
def _(server: Server) -> None:
    with setting(server, Q + "DomainAllowed", "192.0.2.0/24"):
        assert pop3_refused(server)
    assert not pop3_refused(server)


@probe(Q + "DomainNotAllowed")
def _(server: Server) -> None:
    with setting(server, Q + "DomainNotAllowed", "127.0.0.0/8"):
        assert pop3_refused(server)
    assert not pop3_refused(server)


# --- Account-Manager, System-Security -------------------------------------------------------------------------------


@probe("Account-Manager/Range/Accounts/Password")
def _(server: Server) -> None:
    def change(password: str) -> int:
        return server.run("account", "password", "suzuki@example.test", "--password-stdin", data=password + "\n", check=False).returncode

    assert change("abc1") == 1
    with setting(server, "Account-Manager/Range/Accounts/Password", r"^\S.{2,}\S$"):
        assert change("abc1") == 0
    assert change(server.password) == 0


@probe("Account-Manager/Config/StoreSCRAM")
def _(server: Server) -> None:
    assert _set_and_try_scram(server)
    with setting(server, "Account-Manager/Config/StoreSCRAM", "no"):
        assert not _set_and_try_scram(server)
    assert _set_and_try_scram(server)


@probe("Account-Manager/Config/SCRAMIterations")
def _(server: Server) -> None:
    with setting(server, "Account-Manager/Config/SCRAMIterations", "120000"):
        assert _set_and_try_scram(server) == 120000
    assert _set_and_try_scram(server) == 100000


def _set_and_try_scram(server: Server) -> int:
    """Set suzuki's password anew, sign in by SCRAM-SHA-256; the iterations the server asked for, 0 when it refused."""
    import base64
    import hashlib
    import hmac

    server.run("account", "password", "suzuki@example.test", "--password-stdin", data=server.password + "\n")
    with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=20) as client:
        client.ehlo("c.test")
        bare = "n=suzuki@example.test,r=clientnonce"
        code, text = client.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(b"n,," + bare.encode()).decode())
        if code != 334:
            return 0
        first = base64.b64decode(text).decode()
        parts = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", server.password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={parts['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(), f"{bare},{first},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
        code, _text = client.docmd(base64.b64encode(f"{final},p={proof}".encode()).decode())
        if code == 334:
            code, _text = client.docmd("")
        return int(parts["i"]) if code == 235 else 0


Y = "System-Security/Config/"


@probe(Y + "PlaintextLoginFrom")
def _(server: Server) -> None:
    before = server.dbedit("-f", Y + "PlaintextLoginFrom").stdout.split("[")[1].rstrip("]\n")
    with ehlo(server) as client:
        assert client.has_extn("auth")
    server.dbedit("-d", Y + "PlaintextLoginFrom")
    try:
        with ehlo(server) as client:
            assert not client.has_extn("auth")
        assert pop3_refused(server)
    finally:
        server.dbedit("-s", Y + "PlaintextLoginFrom", before)


@probe(Y + "LoginAllowedFrom")
def _(server: Server) -> None:
    with setting(server, Y + "LoginAllowedFrom", "192.0.2.0/24"):
        assert pop3_refused(server)
    assert not pop3_refused(server)


def try_password(server: Server, user: str, password: str) -> float:
    """Seconds until the answer; raises AssertionError when the password is right after all."""
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=30)
    begin = time.monotonic()
    client.user(user)
    try:
        client.pass_(password)
    except poplib.error_proto:
        return time.monotonic() - begin
    finally:
        client.close()
    raise AssertionError("signed in")


def list_bans(server: Server) -> str:
    return server.run("bans", "list").stdout


def _lift(server: Server) -> None:
    server.run("bans", "lift", "127.0.0.1")


@contextlib.contextmanager
def guessing(server: Server) -> Iterator[None]:
    """No delays, and no ban left behind."""
    with setting(server, Y + "MaxLoginDelay", "0"):
        try:
            yield
        finally:
            _lift(server)


@probe(Y + "BanWrongPasswords")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "2"):
        try_password(server, "suzuki", "wrong-one")
        assert "127.0.0.1" not in list_bans(server)
        try_password(server, "suzuki", "wrong-two")
        wait_until(lambda: "127.0.0.1" in list_bans(server), "a ban after two wrong passwords")


@probe(Y + "BanAccounts")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanAccounts", "2"):
        try_password(server, "suzuki", "wrong")
        try_password(server, "yamada", "wrong")
        wait_until(lambda: "127.0.0.1" in list_bans(server), "a ban after failures on two accounts")


@probe(Y + "BanWindow")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "2"), setting(server, Y + "BanWindow", "1"):
        try_password(server, "suzuki", "wrong-a")
        wait_past = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > wait_past, "the window to pass")
        try_password(server, "suzuki", "wrong-b")
        assert "127.0.0.1" not in list_bans(server)


@probe(Y + "BanTime")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "1"), setting(server, Y + "BanTime", "2"):
        try_password(server, "suzuki", "wrong-c")
        wait_until(lambda: not pop3_refused(server) and "suzuki" not in list_bans(server), "the ban to end by itself")
        server.pop3("suzuki").quit()


@probe(Y + "MaxLoginDelay")
def _(server: Server) -> None:
    with setting(server, Y + "BanWrongPasswords", "0"):
        with setting(server, Y + "MaxLoginDelay", "0"):
            for number in range(4):
                assert try_password(server, "suzuki", f"wrong-{number}") < 1.5
        with setting(server, Y + "MaxLoginDelay", "2"):
            assert 1.9 < try_password(server, "suzuki", "wronger") < 4
    _lift(server)


@probe(Y + "BanExceptions")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "1"), setting(server, Y + "BanExceptions", "127.0.0.0/8"):
        try_password(server, "suzuki", "wrong-d")
        try_password(server, "suzuki", "wrong-e")
        assert "127.0.0.1" not in list_bans(server)


@probe(Y + "HashingQueue")
def _(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "0"), setting(server, Y + "HashingQueue", "1"), \
            contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", server.ports["pop3"]), 30)))
                   for _ in range(40)]
        for client in clients:
            client.recv(300)
            client.sendall(b"USER suzuki\r\n")
        for client in clients:
            client.recv(300)
        for number, client in enumerate(clients):
            client.sendall(b"PASS wrong-%d\r\n" % number)
        assert any(b"[SYS/TEMP]" in client.recv(300) for client in clients)


@probe(Y + "LoginCacheTime")
def _(server: Server) -> None:
    # A remembered sign-in costs no hash: the second of two is far quicker than without memory.
    def second_seconds() -> float:
        server.pop3("suzuki").quit()
        best = 9.0
        for _ in range(3):
            begin = time.monotonic()
            server.pop3("suzuki").quit()
            best = min(best, time.monotonic() - begin)
        return best

    remembered = second_seconds()
    with setting(server, Y + "LoginCacheTime", "0"):
        assert second_seconds() > remembered * 2


# --- Log, TLS ---------------------------------------------------------------------------------------------------------


@probe("Log/Config/LogDir")
def _(server: Server) -> None:
    directory = server.directory / "other-log"
    directory.mkdir(exist_ok=True)
    with setting(server, "Log/Config/LogDir", str(directory)):
        message_id = server.send("a@b.test", "yamada@example.test", b"Subject: x\r\n\r\nx\r\n")
        wait_until(lambda: message_id in log_text(server, directory), "the line in the new directory")


@probe("Log/Config/ExpiryTime")
def _(server: Server) -> None:
    old = server.spool / "log" / "post.office-20200101.log"
    old.write_text("old\n")
    owner = (server.spool / "log").stat()
    os.chown(old, owner.st_uid, owner.st_gid)
    with setting(server, "Log/Config/ExpiryTime", "1"):
        wait_until(lambda: not old.exists(), "the old log to go")


@probe("Log/Config/TraceExpiry")
def _(server: Server) -> None:
    old = server.spool / "trace" / "202001.db"
    import sqlite3

    sqlite3.connect(old).close()
    old.touch()
    owner = (server.spool / "trace").stat()
    os.chown(old, owner.st_uid, owner.st_gid)
    with setting(server, "Log/Config/TraceExpiry", "1"):
        wait_until(lambda: not old.exists(), "the old month to go")


@probe("Log/Config/ClientEventRate")
def _(server: Server) -> None:
    def lines() -> int:
        return log_text(server).count(":RefusedRecipient:")

    with setting(server, "Log/Config/ClientEventRate", "0"):
        before = lines()
        with ehlo(server) as client:
            client.mail("a@b.test")
            for _ in range(10):
                client.rcpt("nobody@example.test")
        wait_until(lambda: lines() >= before + 10, "all lines without a limit")
    with setting(server, "Log/Config/ClientEventRate", "1"):
        before = lines()
        with ehlo(server) as client:
            client.mail("a@b.test")
            for _ in range(10):
                client.rcpt("nobody@example.test")
        marker = server.send("a@b.test", "yamada@example.test", b"Subject: x\r\n\r\nx\r\n")
        wait_until(lambda: marker in log_text(server), "the next line")
        assert lines() <= before + 2        # a new minute may begin in between


@probe("TLS/Config/Certificates")
def _(server: Server) -> None:
    from postoffice.tls.certificates import build_self_signed

    file = server.spool / "tls" / "other.pem"
    pair = build_self_signed("other.example.test", time.time())
    owner = server.spool.stat()
    for path, text in ((file, pair.certificate), (file.with_suffix(".key"), pair.key)):
        path.write_bytes(text)
        os.chown(path, owner.st_uid, owner.st_gid)

    def shown() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", server.ports["smtps"]), 10) as plain, context.wrap_socket(plain) as tls:
            return tls.getpeercert(binary_form=True) or b""

    before = shown()
    with setting(server, "TLS/Config/Certificates", str(file)):
        assert shown() != before
    assert shown() == before


@probe("TLS/Config/MinimumVersion")
def _(server: Server) -> None:
    def version_12_works() -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", server.ports["smtps"]), 10) as plain:
            try:
                context.wrap_socket(plain).close()
            except (ssl.SSLError, OSError):
                return False
            return True

    assert version_12_works()
    with setting(server, "TLS/Config/MinimumVersion", "1.3"):
        assert not version_12_works()


# --- the log's switches ---------------------------------------------------------------------------------------------


def _deliver(server: Server) -> None:
    server.send("a@b.test", "yamada@example.test", b"Subject: x\r\n\r\nx\r\n")


def _refuse_message(server: Server) -> None:
    with ehlo(server) as client:
        rcpt(client, "yamada@example.test")
        client.docmd("DATA")
        client.send(b"Received: by x\r\n" * 60 + b"\r\nloop\r\n.\r\n")
        assert client.getreply()[0] == 554


def _refuse_recipient(server: Server) -> None:
    with ehlo(server) as client:
        rcpt(client, "nobody@example.test")


def _refuse_sender(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=20) as client:
        client.login("yamada@example.test", server.password)
        assert client.mail("somebody@else.test")[0] >= 500


def _violate(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), 10) as client:
        client.recv(200)
        client.sendall(b"EHLO x\r\nx" + b"y" * 100_000)
        with contextlib.suppress(OSError):
            while client.recv(1000):
                pass


def _abort(server: Server) -> None:
    client = ehlo(server)
    rcpt(client, "yamada@example.test")
    client.docmd("DATA")
    client.send(b"half a mess")
    client.close()


def _sign_in(server: Server) -> None:
    server.pop3("suzuki").quit()


def _fail_sign_in(server: Server) -> None:
    try_password(server, "suzuki", f"wrong-{time.monotonic_ns()}")
    _lift(server)


def _ban(server: Server) -> None:
    with guessing(server), setting(server, Y + "BanWrongPasswords", "1"):
        try_password(server, "suzuki", f"wrong-{time.monotonic_ns()}")


def _violate_pop3(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.ports["pop3"]), 10) as client:
        client.recv(200)
        client.sendall(b"x" * 100_000)
        with contextlib.suppress(OSError):
            while client.recv(1000):
                pass


def _read_mail(server: Server) -> None:
    _deliver(server)
    client = server.pop3("yamada")
    client.retr(1)
    client.dele(1)
    client.quit()


def _move_port(server: Server) -> None:
    PROBES[P + "Socket"](server)


def _fail_one_of_two(server: Server) -> None:
    server.run("account", "add", "gone@example.test", "--name", "Gone", "--password-stdin", data=server.password + "\n")
    with ehlo(server) as client:
        assert rcpt(client, "gone@example.test")[0] == 250 and client.rcpt("yamada@example.test")[0] == 250
        server.run("account", "remove", "gone@example.test")
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250


def _restart(server: Server) -> None:
    server.stop()
    server.start()


def _kill_child(server: Server) -> None:
    def get_children() -> list[int]:
        return [one["pid"] for one in server.status()["processes"] if one["role"] != "dispatch" and one["state"] == "running"]

    before = get_children()
    os.kill(before[-1], signal.SIGKILL)
    wait_until(lambda: len(now := get_children()) == len(before) and before[-1] not in now, "a new process")


def _break_certificate(server: Server) -> None:
    def announced() -> bool:
        with ehlo(server) as client:
            return client.has_extn("starttls")

    before = server.certificate.read_bytes()
    for text, wanted in ((b"this is no certificate", False), (before, True)):
        server.certificate.write_bytes(text)
        os.kill(next(one["pid"] for one in server.status()["processes"] if one["role"] == "dispatch"), signal.SIGHUP)
        wait_until(lambda: announced() is wanted, f"STARTTLS announced: {wanted}")      # noqa: B023


def _flood(server: Server) -> None:
    with setting(server, "Log/Config/ClientEventRate", "1"), ehlo(server) as client:
        client.mail("a@b.test")
        for _ in range(5):
            client.rcpt("nobody@example.test")


def _change_setting(server: Server) -> None:
    with setting(server, P + "MaxRecipients", "999"):
        pass


TRIGGERS: dict[str, Probe] = {
    "SMTP-Accept/Log/Accepted": _deliver,
    "Mailbox-Deliver/Log/Delivered": _deliver,
    "SMTP-Accept/Log/RefusedMessage": _refuse_message,
    "SMTP-Accept/Log/RefusedRecipient": _refuse_recipient,
    "SMTP-Accept/Log/RefusedSender": _refuse_sender,
    "SMTP-Accept/Log/Connected": _deliver,
    "SMTP-Accept/Log/Closed": _deliver,
    "SMTP-Accept/Log/ProtocolError": _violate,
    "SMTP-Accept/Log/Aborted": _abort,
    "Account-Manager/Log/LoggedIn": _sign_in,
    "Account-Manager/Log/LoginFailed": _fail_sign_in,
    "Account-Manager/Log/Banned": _ban,
    "Account-Manager/Log/BanLifted": _ban,
    "POP3-Server/Log/Connected": _sign_in,
    "POP3-Server/Log/Closed": _sign_in,
    "POP3-Server/Log/ProtocolError": _violate_pop3,
    "POP3-Server/Log/Retrieved": _read_mail,
    "POP3-Server/Log/Deleted": _read_mail,
    "Dispatch/Log/Listening": _move_port,
    "Dispatch/Log/NotListening": _move_port,
    "Dispatch/Log/Started": _restart,
    "Dispatch/Log/Stopped": _restart,
    "Dispatch/Log/ProcessDied": _kill_child,
    "Dispatch/Log/CertificateUnusable": _break_certificate,
    "Mailbox-Deliver/Log/NotDelivered": _fail_one_of_two,
    "Log/Log/Counted": _flood,
    "Configuration-Manager/Log/Changed": _change_setting,
}


def _switch_probe(path: str, trigger: Probe) -> None:
    module, _log, name = path.split("/")
    mark = f":{module}:{name}:"

    @probe(path)
    def run(server: Server) -> None:
        server.dbedit("-s", "Log/Config/ClientEventRate", "0")
        try:
            server.dbedit("-s", path, "yes")
            before = log_text(server).count(mark)
            trigger(server)
            wait_until(lambda: log_text(server).count(mark) > before, f"a line {mark}")
            server.dbedit("-s", path, "no")
            _deliver(server)
            before = log_text(server).count(mark)
            trigger(server)
            # The line that follows shows that the log has been written on: one of Accepted and Delivered is on.
            marker = server.send("a@b.test", "yamada@example.test", b"Subject: x\r\n\r\nx\r\n")
            wait_until(lambda: marker in log_text(server), "the log to go on")
            assert log_text(server).count(mark) == before
        finally:
            server.dbedit("-d", path)
            server.dbedit("-d", "Log/Config/ClientEventRate")


for _path, _trigger in TRIGGERS.items():
    _switch_probe(_path, _trigger)
