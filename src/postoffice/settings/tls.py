"""TLS: certificates and versions."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PATHS, Choice

CERTIFICATES = Key(
    path="TLS/Config/Certificates",
    kind=PATHS,
    default="",
    doc=(
        "PEM files of certificates, the first is the default; the others are chosen by the name a "
        "client asks for. The key stands in the same file or beside it as NAME.key. Empty: "
        "tls/server.pem in the spool."
    ),
    ja=(
        "証明書(PEM)のファイル。先頭が既定で、他は接続先の名前で選ばれます。鍵は同じファイルか隣の "
        "名前.key。空欄ならスプールの tls/server.pem。"
    ),
)
MINIMUM_VERSION = Key(
    path="TLS/Config/MinimumVersion",
    kind=Choice(("1.2", "1.3")),
    default="1.2",
    doc="The oldest TLS version accepted.",
    ja="受け付ける最も古いTLSのバージョン。",
)

KEYS = (CERTIFICATES, MINIMUM_VERSION)
