"""A change of settings is judged whole before anything is saved, and the running server is asked and told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postoffice.base.errors import InputError, PostOfficeError
from postoffice.operations.change_settings import Outcome, change_settings
from postoffice.operations.office import Office
from postoffice.settings import log, smtp_accept
from postoffice.testing.certificates import write_certificate
from tests.unit.offices import add

SOCKET = "SMTP-Accept/Config/Socket"
SUBMISSION = "SMTP-Accept/Config/SubmissionSocket"


class RunningOffice(Office):
    """An office whose server runs, and answers what the test says."""

    def __init__(self, spool: Path) -> None:
        super().__init__(spool)
        self.asked: list[tuple[str, str]] = []
        self.told = 0
        self.busy = ""
        self.disobedient = ""

    def is_running(self) -> bool:
        return True

    def check_ports(self, key: str, value: str) -> None:
        self.asked.append((key, value))
        if value == self.busy:
            raise PostOfficeError(f"{key}: 0.0.0.0:{value} is taken.")

    def notify(self) -> None:
        self.told += 1
        if self.disobedient:
            raise PostOfficeError(f"{self.disobedient} does not obey.")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[RunningOffice]:
    (tmp_path / "config").mkdir()
    office = RunningOffice(tmp_path)
    yield office
    office.close()


def change(office: Office, **texts: str | None) -> Outcome:
    """Keys by the last element of their path in SMTP-Accept."""
    return change_settings(office, {f"SMTP-Accept/Config/{name}": text for name, text in texts.items()}, who="me", origin="test")


def test_ports_are_asked_for_before_and_the_server_is_told_after(office: RunningOffice) -> None:
    outcome = change(office, Socket="2525   [::1]:26")
    assert office.asked == [(SOCKET, "2525 [::1]:26")] and office.told == 1
    assert [(one.path, one.before, one.after, one.who) for one in outcome.changed] == [(SOCKET, None, "2525 [::1]:26", "me")]
    assert outcome.warnings == []


def test_what_changes_nothing_asks_and_tells_nobody(office: RunningOffice) -> None:
    change(office, Socket="2525")
    office.asked, office.told = [], 0
    assert change(office, Socket=" 2525 ").changed == []
    assert (office.asked, office.told) == ([], 0)


def test_a_taken_port_is_refused_and_nothing_is_changed(office: RunningOffice) -> None:
    office.busy = "2526"
    with pytest.raises(PostOfficeError, match="taken"):
        change(office, AllowVRFY="yes", Socket="2526")
    assert office.settings.current()[smtp_accept.ALLOW_VRFY] is False
    assert office.settings.list_history() == [] and office.told == 0


def test_one_bad_value_among_good_ones_changes_nothing(office: RunningOffice) -> None:
    with pytest.raises(InputError, match=r"MaxBadCommands.*\[0\].*1 to 10000"):
        change(office, AllowVRFY="yes", MaxBadCommands="0")
    assert office.settings.list_history() == [] and office.asked == []


def test_a_process_that_does_not_obey_is_named_though_the_value_is_saved(office: RunningOffice) -> None:
    office.disobedient = "Serve 2 (pid 7)"
    with pytest.raises(PostOfficeError, match="Serve 2"):
        change(office, AllowVRFY="yes")
    assert office.settings.current()[smtp_accept.ALLOW_VRFY] is True


@pytest.mark.parametrize(("key", "text", "other"), [
    (SOCKET, "25 587", SUBMISSION),
    (SUBMISSION, "127.0.0.1:25", SOCKET),
    (SOCKET, "2525 127.0.0.1:2525", "there twice"),
    ("POP3-Server/Config/Socket", "[::1]:465", "SMTP-Accept/Config/SSLSocket"),
])
def test_two_services_cannot_have_one_port(office: RunningOffice, key: str, text: str, other: str) -> None:
    with pytest.raises(InputError) as caught:
        change_settings(office, {key: text}, who="me", origin="test")
    assert caught.value.field == key and other in str(caught.value)
    assert office.settings.list_history() == []


def test_a_port_may_be_had_by_two_services_of_different_addresses_or_one_that_is_off(office: RunningOffice) -> None:
    change(office, Socket="127.0.0.1:2525", SubmissionSocket="[::1]:2525")
    change_settings(office, {"POP3-Server/Config/Enable": "no"}, who="me", origin="test")
    change(office, Socket="110")
    with pytest.raises(InputError, match="110"):
        change_settings(office, {"POP3-Server/Config/Enable": "yes"}, who="me", origin="test")


def test_ports_change_places_in_one_change(office: RunningOffice) -> None:
    change(office, Socket="587", SubmissionSocket="25")
    assert office.settings.current().get_text(smtp_accept.SOCKET) == "587"


def test_ports_of_services_to_come_are_only_stored(office: RunningOffice) -> None:
    change_settings(office, {"IMAP4-Server/Config/Socket": "1143"}, who="me", origin="test")
    assert office.asked == []


@pytest.mark.parametrize(("path", "text"), [
    (SOCKET, "192.0.2.77:25"), ("Dispatch/Config/ListenAddresses", "127.0.0.1 192.0.2.77"),
    ("IMAP4-Server/Config/Socket", "192.0.2.77:143"),
])
def test_an_address_of_another_machine_is_refused(office: RunningOffice, path: str, text: str) -> None:
    with pytest.raises(InputError, match=r"192\.0\.2\.77 is not an address of this machine"):
        change_settings(office, {path: text}, who="me", origin="test")


def test_the_log_directory_must_be_writable(office: RunningOffice, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="nothing can be written"):
        change_settings(office, {"Log/Config/LogDir": str(tmp_path / "file" / "log")}, who="me", origin="test")
    change_settings(office, {"Log/Config/LogDir": str(tmp_path / "a" / "b")}, who="me", origin="test")
    assert office.settings.current()[log.LOG_DIR] == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_certificate_must_load(office: RunningOffice, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    write_certificate(good, ["mail.example.test"])
    bad.write_text("no certificate")
    for file in (bad, tmp_path / "missing.pem"):
        with pytest.raises(InputError, match=f"{file} cannot be used"):
            change_settings(office, {"TLS/Config/Certificates": f"{good};{file}"}, who="me", origin="test")
    change_settings(office, {"TLS/Config/Certificates": str(good)}, who="me", origin="test")


@pytest.mark.parametrize(("path", "text", "sentence"), [
    ("SMTP-Accept/Config/AllowSTARTTLS", "no", "only from: nowhere"),
    ("SMTP-Accept/Config/DoAUTH", "no", "Nobody can sign in"),
    ("System-Security/Config/PlaintextLoginFrom", "0.0.0.0/0", "clear text"),
    ("Account-Manager/Range/Accounts/Password", ".*", "empty password"),
    ("Dispatch/Config/Workers", "2", "Dispatch/Config/Workers takes effect with: postoffice restart"),
])
def test_what_looks_dangerous_is_done_with_a_warning(office: RunningOffice, path: str, text: str, sentence: str) -> None:
    outcome = change_settings(office, {path: text}, who="me", origin="test")
    assert outcome.changed and len(outcome.warnings) == 1 and sentence in outcome.warnings[0]


def test_giving_up_a_domain_in_use_is_warned_of(office: RunningOffice) -> None:
    domains = "SMTP-Router/Config/LocalMailDomains"
    change_settings(office, {domains: "example.test other.test"}, who="me", origin="test")
    office.directory.ensure_reserved()
    add(office.directory)
    assert change_settings(office, {domains: "example.test"}, who="me", origin="test").warnings == []
    assert "1 account(s)" in change_settings(office, {domains: "other.test"}, who="me", origin="test").warnings[0]


def test_without_a_server_a_taken_port_is_found_at_start_not_here(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    office = Office(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        change(office, Socket=f"127.0.0.1:{taken.getsockname()[1]}")
    office.close()
