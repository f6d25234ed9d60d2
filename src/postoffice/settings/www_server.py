"""WWW-Server: the ports of a service that is not served yet; they are stored."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PORTS

SOCKET = Key(
    path="WWW-Server/Config/Socket",
    kind=PORTS,
    default="80",
    doc="The WWW (administration) port. Stored until the service exists.",
    ja="WWW(管理画面)のポート番号(サービスが加わるまで保存のみ)。",
)
SSL_SOCKET = Key(
    path="WWW-Server/Config/SSLSocket",
    kind=PORTS,
    default="443",
    doc="The WWW (administration) port with TLS. Stored until the service exists.",
    ja="TLSを使うWWW(管理画面)のポート番号(サービスが加わるまで保存のみ)。",
)

KEYS = (SOCKET, SSL_SOCKET)
