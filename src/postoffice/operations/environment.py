"""What a server runs on: the answer to "which version, which system, is this a virtual machine?"."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import postoffice
from postoffice.config.registry import Snapshot
from postoffice.operations.logs import get_log_directory
from postoffice.settings import dispatch, smtp_router

_DMI = Path("/sys/class/dmi/id")
_VENDORS = {"qemu": "KVM/QEMU", "kvm": "KVM", "vmware": "VMware", "virtualbox": "VirtualBox", "innotek": "VirtualBox",
            "microsoft": "Hyper-V", "xen": "Xen", "amazon": "Amazon EC2", "google": "Google Compute Engine",
            "parallels": "Parallels", "bochs": "QEMU", "openstack": "OpenStack"}


def get_mailbox_directory(spool: Path, snapshot: Snapshot) -> Path:
    """Dispatch/Config/MailboxDir, or ``<spool>/mailbox`` where none is set."""
    return snapshot[dispatch.MAILBOX_DIR] or spool / "mailbox"


def describe_environment(spool: Path, snapshot: Snapshot) -> dict[str, Any]:
    """Host name, domains, directories, version, Python, kernel, virtualisation, file systems."""
    mailbox, log = get_mailbox_directory(spool, snapshot), get_log_directory(spool, snapshot)
    program = snapshot[dispatch.PROGRAM_DIR] or Path(postoffice.__file__).parent
    return {
        "host_name": snapshot.get_text(dispatch.HOST_NAME),
        "domains": snapshot.get_text(smtp_router.LOCAL_MAIL_DOMAINS).split(),
        "spool_directory": str(spool),
        "program_directory": str(program),
        "mailbox_directory": str(mailbox),
        "log_directory": str(log),
        "version": postoffice.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "system": _find_system(),
        "virtualization": find_virtualization(),
        "file_systems": {str(path): describe_file_system(path) for path in dict.fromkeys((spool, mailbox, log))},
    }


def find_virtualization() -> str:
    """The container and the virtual machine we can see ourselves in; "none" when neither shows."""
    found = [container for container in (_find_container(),) if container]
    machine = " ".join(_read(_DMI / name) for name in ("sys_vendor", "product_name", "bios_vendor")).lower()
    found += list(dict.fromkeys(name for word, name in _VENDORS.items() if word in machine))[:1]
    if not found[1:] and _has_hypervisor_flag() and not (found and found[-1] in _VENDORS.values()):
        found.append("a virtual machine")
    return ", ".join(found) or "none"


def describe_file_system(path: Path) -> dict[str, Any]:
    """Type, device, mount point, size and free bytes (for an unprivileged writer) of where ``path`` lies."""
    existing = path.resolve()
    while not existing.exists():
        existing = existing.parent
    disk = os.statvfs(existing)
    device = os.stat(existing).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind, source, mount = "unknown", "", ""
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        before, _dash, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 4 and fields[2] == number and len(rest) > 1:
            kind, source, mount = rest[0], rest[1], fields[4].replace("\\040", " ")
    return {"type": kind, "device": source, "mount": mount, "bytes": disk.f_blocks * disk.f_frsize,
            "free_bytes": disk.f_bavail * disk.f_frsize}


def _find_container() -> str:
    if Path("/.dockerenv").exists():
        return "Docker container"
    if Path("/run/.containerenv").exists():
        return "Podman container"
    name = _read(Path("/run/systemd/container")).strip()
    return f"{name} container" if name else ""


def _has_hypervisor_flag() -> bool:
    return " hypervisor" in _read(Path("/proc/cpuinfo"))[:20000]


def _find_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""                       # not there on this machine, or not for us
