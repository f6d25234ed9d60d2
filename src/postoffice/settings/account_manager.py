"""Account-Manager: rules for accounts and their passwords."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import REGEX, YES_NO, Int

PASSWORD = Key(
    path="Account-Manager/Range/Accounts/Password",
    kind=REGEX,
    default=r"^\S.{4,}\S$",
    doc=(
        "What a password must match, everywhere one is set. The number in braces plus two is the least "
        "length."
    ),
    ja="パスワードの規則(正規表現)。中かっこの数字に2を足したものが最小文字数です。",
)
STORE_SCRAM = Key(
    path="Account-Manager/Config/StoreSCRAM",
    kind=YES_NO,
    default="yes",
    doc=(
        "Keep a SCRAM-SHA-256 verifier beside the hash when a password is set, so that programs can "
        "sign in without sending it."
    ),
    ja="パスワード設定時にSCRAM-SHA-256の検証値も保存します。",
)
SCRAM_ITERATIONS = Key(
    path="Account-Manager/Config/SCRAMIterations",
    kind=Int(100000, 10000000),
    default="100000",
    doc="PBKDF2 iterations of new SCRAM verifiers.",
    ja="新しいSCRAM検証値の反復回数。",
)

KEYS = (PASSWORD, STORE_SCRAM, SCRAM_ITERATIONS)
