"""SMTP-Router: which domains are ours and how addresses are read."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import DOMAINS, YES_NO, Networks

LOCAL_MAIL_DOMAINS = Key(
    path="SMTP-Router/Config/LocalMailDomains",
    kind=DOMAINS,
    default="",
    doc="The domains whose mail ends here. An unknown user in one of them is an error, never relayed.",
    ja="このサーバで受け取るドメイン。存在しない宛先はエラーになり、中継されません。",
)
RELAY_ALLOW = Key(
    path="SMTP-Router/Config/RelayAllow",
    kind=Networks(zero_is_wildcard=True),
    default="",
    doc=(
        "Networks that may send mail to other domains without signing in; as in the original a bare "
        "192.0.2.0 stands for 192.0.2.0/24. Stored; used when outgoing mail exists."
    ),
    ja="ログインなしで外部へ送信できるネットワーク(外への送信機能が加わるまで保存のみ)。",
)
ALLOW_DETAIL = Key(
    path="SMTP-Router/Config/AllowDetail",
    kind=YES_NO,
    default="yes",
    doc="user+anything@domain reaches user@domain.",
    ja="user+任意の文字@ドメイン を user@ドメイン に届けます。",
)
ADD_DELIVERED_TO = Key(
    path="SMTP-Router/Config/AddDeliveredTo",
    kind=YES_NO,
    default="yes",
    doc="Write a Delivered-To line into each delivered copy.",
    ja="配送したメールにDelivered-To行を付けます。",
)

KEYS = (LOCAL_MAIL_DOMAINS, RELAY_ALLOW, ALLOW_DETAIL, ADD_DELIVERED_TO)
