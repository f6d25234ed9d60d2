"""Set-up: answers become a spool that a server can start on. Run again it changes only what is asked.

Owns the layout of the spool (directories, modes, owner), the system user, /etc/post.office.conf, the certificate and
the reserved accounts. Everything that can be wrong is checked before the first change. As root the spool is given to
its user and the rest is done as that user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from postoffice.base.durable import make_directory, write_file_atomically
from postoffice.base.errors import InputError, PostOfficeError
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.directory.credentials import build_credentials, check_password, verify_password
from postoffice.operations import caller
from postoffice.operations.answers import Answers
from postoffice.operations.environment import get_mailbox_directory
from postoffice.operations.logs import get_log_directory
from postoffice.operations.office import (
    CONFIGURATION_FILE,
    SPOOL_VARIABLE,
    Office,
    is_set_up,
    read_configuration_file,
)
from postoffice.operations.reach import check_directories, check_program
from postoffice.settings import account_manager, dispatch, tls
from postoffice.tls.certificates import build_self_signed, check_certificate, covers_host, split_pem

DEFAULT_SPOOL = Path("/var/spool/post.office")
DEFAULT_USER = "postoffice"
_DIRECTORIES = ("config", "tls", "locks", "trace")
_WHO = "postoffice setup"
_STRANGER = 2**31 - 2                   # a user and group id that nobody has

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a set-up goes. ``write_configuration``: as root, name the spool in /etc/post.office.conf; ``named``:
    --spool or $PostOffice said where, so nobody needs to be asked."""

    spool: Path
    write_configuration: bool
    named: bool = True


def choose_target(option: str | None, answers: Answers) -> Target:
    """The spool that --spool or $PostOffice names, else the answers, else /etc/post.office.conf, else the default."""
    named = option or os.environ.get(SPOOL_VARIABLE)
    if named:
        return Target(Path(named).absolute(), write_configuration=False)
    configured = read_configuration_file().get(SPOOL_VARIABLE.lower())
    spool = answers.spool or (Path(configured) if configured else DEFAULT_SPOOL)
    return Target(spool, write_configuration=os.geteuid() == 0, named=False)


def set_up(target: Target, answers: Answers, progress: Progress) -> None:
    """Carry the answers out. Raises PostOfficeError; what can be known to fail fails before anything is changed."""
    spool = target.spool
    first = not is_set_up(spool)
    snapshot = _foresee(spool, answers, first=first)
    if answers.postmaster_password is not None:
        _check_postmaster_password(answers.postmaster_password, snapshot)
    if answers.certificate is not None and answers.key is not None:
        check_certificate(answers.certificate, answers.key, time.time(), field="tls.certificate")
    directories = [("spool directory", spool), ("mailbox directory", get_mailbox_directory(spool, snapshot)),
                   ("log directory", get_log_directory(spool, snapshot))]
    if first and os.geteuid() == 0 and not spool.exists() and (answers.user or DEFAULT_USER) == DEFAULT_USER and (
            _find_user(DEFAULT_USER) is None):
        # The user is yet to be made: what no stranger can reach it will not reach either.
        check_program(_STRANGER, _STRANGER)
        check_directories(_STRANGER, _STRANGER, directories, may_make=True)
    uid, gid = _choose_user(spool, answers.user, progress, first=first)
    check_program(uid, gid)
    check_directories(uid, gid, [one for one in directories if not first or not _is_to_give(one[1], spool)],
                      may_make=os.geteuid() == 0)
    _make_directories(uid, gid, [path for _what, path in directories])
    check_directories(uid, gid, directories)
    if target.write_configuration:
        _write_configuration(spool, progress)
    caller.become_owner(spool)
    office = Office(spool)
    for name in _DIRECTORIES:
        make_directory(spool / name)
    _save_settings(office, answers, progress, first=first)
    office.directory.ensure_reserved()
    _set_postmaster_password(office, answers.postmaster_password, progress)
    _put_certificate(office, answers, progress)
    office.notify()


def _is_to_give(directory: Path, spool: Path) -> bool:
    """An existing spool that root is about to give to its user."""
    return os.geteuid() == 0 and directory == spool and directory.exists()


def _check_postmaster_password(password: str, snapshot: Snapshot) -> None:
    try:
        check_password(password, snapshot[account_manager.PASSWORD])
    except InputError as error:
        raise InputError("postmaster_password", error.message.partition(": ")[2], error.remedy) from None


def _foresee(spool: Path, answers: Answers, *, first: bool) -> Snapshot:
    """The settings as they will be, without touching anything."""
    registry = build_registry()
    texts = {}
    if not first:
        # Looked up as the owner, in a moment; a set-up that changes nothing must not need more than reading.
        caller.check_may_work(spool)
        with caller.as_owner(spool):
            office = Office(spool)
            texts = dict(office.settings.current().texts)
            registry = office.settings.registry
            office.close()
    for key, text in answers.settings.items():
        texts[key] = text
    mailbox = answers.settings.get(dispatch.MAILBOX_DIR)
    if not first and mailbox is not None:
        _refuse_move(spool, Path(mailbox))
    return Snapshot(registry, {registry.get(key.path): text for key, text in texts.items()})


def _refuse_move(spool: Path, wanted: Path) -> None:
    with caller.as_owner(spool):
        office = Office(spool)
        current = get_mailbox_directory(spool, office.settings.current())
        office.close()
    if current != wanted:
        raise InputError("directories.mailbox", f"the mail lies in {current} and has to move with this setting.",
                         "Use: postoffice storage move")


def _choose_user(spool: Path, wanted: str | None, progress: Progress, *, first: bool) -> tuple[int, int]:
    """User and group ids of the server. As root the user is created where it does not exist."""
    if not first or (spool.exists() and os.geteuid() == 0 and spool.stat().st_uid != 0 and wanted is None):
        status = spool.stat()
        if wanted is not None and _find_user(wanted) != (status.st_uid, status.st_gid) and (
                (found := _find_user(wanted)) is None or found[0] != status.st_uid):
            owner = caller.get_user_name(status.st_uid)
            raise InputError("user", f"the spool {spool} belongs to {owner}, not to {wanted}.",
                             f"Set up as that user, or give the spool away: chown -R {wanted} {spool}")
        return status.st_uid, status.st_gid
    if os.geteuid() != 0:
        own = caller.get_user_name(os.geteuid())
        if wanted not in (None, own):
            raise InputError("user", f"only root can set the server up for the user {wanted}; you are {own}.",
                             f"Run as root, or leave the answer out to run it as {own}.")
        return os.geteuid(), os.getegid()
    name = wanted or DEFAULT_USER
    found = _find_user(name)
    if found is None:
        if wanted is not None and wanted != DEFAULT_USER:
            raise InputError("user", f"there is no user {wanted} on this machine.",
                             f"Create it (useradd --system {wanted}), or leave the answer out for {DEFAULT_USER}.")
        _create_user(name, spool)
        progress(f"Created the system user {name}.")
        found = _find_user(name)
        assert found is not None
    return found


def _find_user(name: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _create_user(name: str, spool: Path) -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise PostOfficeError("The system user cannot be created: there is no useradd.",
                              f"Create the user {name} by other means and set up again.")
    done = subprocess.run([program, "--system", "--user-group", "--no-create-home", "--home-dir", str(spool),
                           "--shell", "/usr/sbin/nologin", name], capture_output=True, text=True)
    if done.returncode:
        raise PostOfficeError(f"The system user {name} cannot be created: {done.stderr.strip()}.")


def _make_directories(uid: int, gid: int, directories: list[Path]) -> None:
    for directory in directories:
        try:
            missing = not directory.exists()
            # What lies above belongs to whoever sets up and may be passed by all.
            for parent in reversed([one for one in directory.parents if not one.exists()]):
                parent.mkdir(mode=0o755)
                if directories[0] in (parent, *parent.parents):
                    os.chown(parent, uid, gid)
            if missing:
                make_directory(directory)
                directory.chmod(0o750 if directory is directories[-1] else 0o700)
            if os.geteuid() == 0 and (missing or (directory is directories[0] and not is_set_up(directory))):
                os.chown(directory, uid, gid)
        except OSError as error:
            raise PostOfficeError(f"The directory {directory} cannot be made: {error.strerror}.",
                                  "Choose another directory, or make it yourself.") from None


def _write_configuration(spool: Path, progress: Progress) -> None:
    text = f"# The spool directory of Post.Office; written by postoffice setup.\n{SPOOL_VARIABLE}={spool}\n"
    if read_configuration_file().get(SPOOL_VARIABLE.lower()) != str(spool):
        write_file_atomically(CONFIGURATION_FILE, text.encode(), 0o644)
        progress(f"Wrote {CONFIGURATION_FILE}.")


def _save_settings(office: Office, answers: Answers, progress: Progress, *, first: bool) -> None:
    current = office.settings.current()
    wanted: dict[str, str | None] = {}
    for key, text in answers.settings.items():
        # A value equal to the default is not written, so that a second set-up is silent and the default stays one.
        if current.get_text(key) != text:
            wanted[key.path] = text if text != key.default else None
    if first or current.get_text(dispatch.SPOOL) != str(office.spool):
        wanted[dispatch.SPOOL.path] = str(office.spool)
    for path, value in wanted.items():
        if not first:
            office.check_ports_if_any(path, value if value is not None else office.settings.registry.get(path).default)
    for change in office.settings.apply(wanted, who=_WHO, planned=True):
        progress(f"{change.path}: [{change.after if change.after is not None else ''}]")


def _set_postmaster_password(office: Office, password: str | None, progress: Progress) -> None:
    if password is None:
        return
    postmaster = office.directory.get_postmaster()
    known = office.directory.get_credentials(postmaster.id)
    if known is not None and verify_password(known.argon2, password):
        return
    office.directory.set_credentials(postmaster.id, build_credentials(password, office.settings.current()))
    progress("Set the password of Postmaster.")


def _put_certificate(office: Office, answers: Answers, progress: Progress) -> None:
    """The certificate that was brought, or a self-signed one where none is there for this host name."""
    directory = office.spool / "tls"
    if answers.certificate is not None and answers.key is not None:
        chain, _key = split_pem(answers.certificate)
        _certificates, key = split_pem(answers.key)
        _put_pair(directory / "certificate.pem", chain, key, progress)
        path = str(directory / "certificate.pem")
        if office.settings.current().get_text(tls.CERTIFICATES) != path:
            office.settings.set(tls.CERTIFICATES.path, path, who=_WHO)
        return
    host = office.settings.current()[dispatch.HOST_NAME] or "localhost"
    file = directory / "server.pem"
    if file.exists() and covers_host(file.read_bytes(), host):
        return
    pair = build_self_signed(host, time.time())
    _put_pair(file, pair.certificate, pair.key, progress)


def _put_pair(file: Path, certificate: bytes, key: bytes, progress: Progress) -> None:
    beside = file.with_suffix(".key")
    if file.exists() and beside.exists() and (file.read_bytes(), beside.read_bytes()) == (certificate, key):
        return
    write_file_atomically(beside, key, 0o600)
    write_file_atomically(file, certificate, 0o644)
    progress(f"Wrote {file} and its key.")
