"""IMAP4-Server: the ports of a service that is not served yet; they are stored."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PORTS

SOCKET = Key(
    path="IMAP4-Server/Config/Socket",
    kind=PORTS,
    default="143",
    doc="The IMAP4 port. Stored until the service exists.",
    ja="IMAP4のポート番号(サービスが加わるまで保存のみ)。",
)
SSL_SOCKET = Key(
    path="IMAP4-Server/Config/SSLSocket",
    kind=PORTS,
    default="993",
    doc="The IMAP4 port with TLS. Stored until the service exists.",
    ja="TLSを使うIMAP4のポート番号(サービスが加わるまで保存のみ)。",
)

KEYS = (SOCKET, SSL_SOCKET)
