"""Log: where logs lie and how long logs and trace are kept."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PATH, Int

LOG_DIR = Key(
    path="Log/Config/LogDir",
    kind=PATH,
    default="",
    doc="The directory of the plain logs; empty: log in the spool. It moves while the server runs.",
    ja="ログを保存するディレクトリ。空欄ならスプールの中の log。",
)
EXPIRY_TIME = Key(
    path="Log/Config/ExpiryTime",
    kind=Int(0, 36500, "days"),
    default="90",
    doc="Days a log file is kept; 0: for ever.",
    ja="ログを残す日数。0なら削除しません。",
    departure="The original kept seven days; questions about mail come later than that.",
)
TRACE_EXPIRY = Key(
    path="Log/Config/TraceExpiry",
    kind=Int(0, 36500, "days"),
    default="90",
    doc="Days the trace is kept, in whole months; 0: for ever.",
    ja="メール追跡を残す日数(月単位)。0なら削除しません。",
)
CLIENT_EVENT_RATE = Key(
    path="Log/Config/ClientEventRate",
    kind=Int(0, 1000000),
    default="60",
    doc=(
        "Events without a message of one kind and client written per minute; more are only counted. 0: "
        "no limit."
    ),
    ja="メールを伴わないイベントを1分間に記録する数(種類・クライアントごと)。0なら無制限。",
)

KEYS = (LOG_DIR, EXPIRY_TIME, TRACE_EXPIRY, CLIENT_EVENT_RATE)
