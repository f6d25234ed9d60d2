"""Saved settings: seen at once by every process, all or none, with a history that can be undone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from postoffice.base.errors import InputError, PostOfficeError, TemporaryError
from postoffice.catalog import build_registry
from postoffice.config import kinds
from postoffice.config.files import compare, export_settings, read_settings
from postoffice.config.keys import Applies, Key
from postoffice.config.registry import Registry
from postoffice.config.saved import SavedSettings, open_database
from postoffice.settings import dispatch, smtp_accept

REGISTRY = build_registry()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "office.db"


@pytest.fixture
def saved(path: Path) -> Iterator[SavedSettings]:
    saved = SavedSettings(path, REGISTRY)
    yield saved
    saved.close()


def test_another_process_sees_a_change_at_once(saved: SavedSettings, path: Path) -> None:
    other = SavedSettings(path, REGISTRY)
    before = other.current()
    saved.set("smtp-accept/config/allowvrfy", "yes", who="me")
    assert other.current()[smtp_accept.ALLOW_VRFY] is True
    assert before[smtp_accept.ALLOW_VRFY] is False, "a snapshot never changes"
    assert other.current().generation == saved.current().generation > before.generation
    other.close()


def test_one_bad_value_changes_nothing(saved: SavedSettings) -> None:
    generation = saved.current().generation
    with pytest.raises(InputError, match=r"SMTP-Accept/Config/MaxBadCommands.*\[many\].*number"):
        saved.apply({"SMTP-Accept/Config/AllowVRFY": "yes", "SMTP-Accept/Config/MaxBadCommands": "many"}, who="me")
    with pytest.raises(InputError, match="no such key"):
        saved.apply({"SMTP-Accept/Config/AllowVRFY": "yes", "SMTP-Accept/Config/AllowVFRY": "yes"}, who="me")
    assert saved.current().generation == generation and not saved.list_history()


def test_a_key_whose_data_must_move_is_refused_by_name_of_the_operation(saved: SavedSettings) -> None:
    for change in ("/elsewhere", None):
        with pytest.raises(InputError, match="postoffice storage move"):
            saved.apply({"Dispatch/Config/MailboxDir": change}, who="me")
    saved.apply({"Dispatch/Config/MailboxDir": "/elsewhere"}, who="me", planned=True)
    assert saved.current()[dispatch.MAILBOX_DIR] == Path("/elsewhere")


def test_history_tells_who_and_undo_wants_the_latest(saved: SavedSettings) -> None:
    first = saved.set("SMTP-Accept/Config/MaxRecipients", "5", who="sato", origin="dbedit")[0]
    second = saved.set("SMTP-Accept/Config/MaxRecipients", "6", who="kato")[0]
    assert saved.set("SMTP-Accept/Config/MaxRecipients", "6", who="kato") == []
    assert [(one.who, one.before, one.after) for one in saved.list_history()] == [("kato", "5", "6"), ("sato", None, "5")]
    with pytest.raises(InputError, match="changed again"):
        saved.get_undo(first.id)
    assert saved.get_undo(second.id) == ("SMTP-Accept/Config/MaxRecipients", "5")


def test_a_value_of_another_version_is_passed_over_and_logged(saved: SavedSettings, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    connection = open_database(path)
    connection.execute("INSERT INTO settings VALUES('SMTP-Accept/Config/MaxRecipients','garbled'),('New/Config/Key','1')")
    connection.execute("UPDATE settings_generation SET number=number+1")
    connection.close()
    assert saved.current()[smtp_accept.MAX_RECIPIENTS] == 1000
    assert "MaxRecipients" in caplog.text and "New/Config/Key" in caplog.text


def test_the_database_is_synced_and_private(saved: SavedSettings, path: Path) -> None:
    connection = open_database(path)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_mode & 0o077 == 0
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3), "older ones can lose a WAL"
    connection.close()


def test_an_export_comes_back_the_same_byte_for_byte(saved: SavedSettings) -> None:
    saved.apply({"Account-Manager/Range/Accounts/Password": r'^\S.{2,}"\S$', "SMTP-Accept/Config/Socket": "25 [::1]:26"}, who="me")
    text = export_settings(REGISTRY, saved.current())
    wanted = read_settings(REGISTRY, text)
    assert compare(saved.current(), wanted) == []
    saved.apply(dict.fromkeys(["Account-Manager/Range/Accounts/Password", "SMTP-Accept/Config/Socket"]), who="me")
    assert len(compare(saved.current(), wanted)) == 2
    saved.apply({key.path: value for key, value in wanted.items()}, who="me")
    assert export_settings(REGISTRY, saved.current()) == text
    everything = export_settings(REGISTRY, saved.current(), everything=True)
    movable = [key for key in REGISTRY if not key.secret and key.applies is not Applies.PLAN]
    assert read_settings(REGISTRY, everything) == {key: saved.current().get_text(key) for key in movable}


def test_changes_are_taken_once_whoever_made_them(saved: SavedSettings, path: Path) -> None:
    saved.set("SMTP-Accept/Config/MaxRecipients", "5", who="sato")
    other = SavedSettings(path, REGISTRY)
    assert other.take_changes() == [], "what was before is no news"
    saved.apply({"SMTP-Accept/Config/MaxRecipients": None, "SMTP-Accept/Config/AllowVRFY": "yes"}, who="kato")
    assert [(one.who, one.before, one.after) for one in other.take_changes()] == [("kato", "5", None), ("kato", None, "yes")]
    assert other.take_changes() == []
    other.close()


def test_a_value_is_kept_in_its_canonical_spelling(saved: SavedSettings) -> None:
    (change,) = saved.set("SMTP-Accept/Config/MessageSize", " 50 MiB ", who="me")
    assert change.after == "52428800"
    assert saved.set("SMTP-Accept/Config/MessageSize", "50M", who="me") == []


def test_secrets_are_shown_nowhere(path: Path) -> None:
    key = Key("A/Config/Secret", kinds.Text(most=5), "", "A secret.", "秘密。", secret=True)
    registry = Registry([key])
    saved = SavedSettings(path, registry)
    saved.set(key.path, "hush1", who="me")
    with pytest.raises(InputError) as caught:
        saved.set(key.path, "hush2-too-long", who="me")
    shown = [str(caught.value), export_settings(registry, saved.current(), everything=True), str(saved.list_history())]
    assert not any("hush" in text for text in shown) and "****" in shown[2]
    assert saved.current()[key] == "hush1"
    saved.close()


_WRITER = """
import sys
from pathlib import Path
from postoffice.catalog import build_registry
from postoffice.config.saved import SavedSettings
saved = SavedSettings(Path(sys.argv[1]), build_registry())
for number in range(1, 51):
    saved.set("SMTP-Accept/Config/" + sys.argv[2], str(number), who=sys.argv[2])
    print(saved.current().generation, flush=True)
"""


def test_processes_write_at_once_and_none_is_lost(saved: SavedSettings, path: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    names = ("MaxBadCommands", "MaxRecipients", "MaxSessions")
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], stdout=subprocess.PIPE, text=True,
                                env=os.environ | {"PYTHONPATH": str(source)}) for name in names]
    seen = [[int(line) for line in writer.communicate()[0].split()] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert all(numbers == sorted(set(numbers)) and len(numbers) == 50 for numbers in seen), "it only rises"
    snapshot = saved.current()
    assert snapshot.generation == 1 + 150 and len(saved.list_history(1000)) == 150
    assert [snapshot.get_text(REGISTRY.get(f"SMTP-Accept/Config/{name}")) for name in names] == ["50", "50", "50"]


def test_a_database_of_a_newer_version_is_left_alone(saved: SavedSettings, path: Path) -> None:
    connection = open_database(path)
    connection.execute("UPDATE schema_versions SET version=99 WHERE owner='config'")
    connection.close()
    with pytest.raises(PostOfficeError, match="newer version"):
        SavedSettings(path, REGISTRY)


def test_what_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "office.db").write_bytes(b"no database at all" * 1000)
    for path in (tmp_path / "office.db", tmp_path / "missing" / "office.db"):
        with pytest.raises(TemporaryError, match=str(path)):
            open_database(path)


def test_a_read_leaves_no_transaction_open(saved: SavedSettings, path: Path) -> None:
    saved.current()
    saved.list_history()
    connection = open_database(path)
    saved.set("SMTP-Accept/Config/AllowVRFY", "yes", who="me")
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0] == 0, "somebody still reads"
    connection.close()


@pytest.mark.parametrize(("text", "sentence"), [
    ("[SMTP-Accept.Config]\nSocket = 2525.5\n", "SMTP-Accept/Config/Socket"),
    ("[SMTP-Accept.Config]\nSokket = '1'\n", "no such key"),
    ("not toml", "TOML"),
])
def test_a_bad_file_is_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_settings(REGISTRY, text)


def test_what_was_acknowledged_survives_a_kill(saved: SavedSettings, path: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    endless = _WRITER.replace("range(1, 51)", "range(1, 10000)")
    writer = subprocess.Popen([sys.executable, "-c", endless, str(path), "MaxRecipients"], stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": str(source)})
    assert writer.stdout is not None
    for _line in range(20):
        acknowledged = int(writer.stdout.readline()) - 1
    writer.kill()
    writer.communicate()
    assert saved.current()[smtp_accept.MAX_RECIPIENTS] >= acknowledged >= 20
    assert saved.current().generation == saved.current()[smtp_accept.MAX_RECIPIENTS] + 1
