"""Registry files of the original: read in the forms that regedit writes, written so that it can read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.base.errors import InputError
from postoffice.catalog import build_registry
from postoffice.config.files import list_values
from postoffice.config.keys import Applies
from postoffice.config.regfile import export_registry_file, read_registry_file
from postoffice.config.registry import Snapshot

REGISTRY = build_registry()
WINDOWS = r"""Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Software.com\Post.Office]
@="x"

[HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Software.com\Post.Office\Dispatch\Config]
"MailboxDir"="D:\\Mail"
"DomainName"=".example.co.jp"
"PUFD_DATA_PATH"="C:\\PUF"

[HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Software.com\Post.Office\smtp-accept\Config]
"AllowVRFY"="yes"
"Socket"=dword:000009dd
"MaxBadCommands"="plenty"
"Blob"=hex:00,01,\
  02,03

[HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Software.com\Post.Office\Account-Manager\Range\Accounts]
"Password"="^\\S.{2,}\\S$"

[HKEY_LOCAL_MACHINE\SOFTWARE\Other\Post.Office\SMTP-Accept\Config]
"AllowEXPN"="yes"
""".replace("\n", "\r\n")


@pytest.mark.parametrize("data", [
    WINDOWS.encode("utf-16"), WINDOWS.encode("utf-16-le"), WINDOWS.encode("utf-8-sig"),
    WINDOWS.replace("Windows Registry Editor Version 5.00", "REGEDIT4").replace('@="x"', '@="日本"').encode("cp932"),
    WINDOWS.replace("Wow6432Node\\", "").encode("utf-16"),
], ids=["utf-16", "utf-16 without mark", "utf-8", "cp932", "32 bit"])
def test_every_form_of_regedit_is_read(data: bytes) -> None:
    found = read_registry_file(REGISTRY, data)
    assert {key.path: text for key, text in found.values.items()} == {
        "Dispatch/Config/DomainName": "example.co.jp",
        "SMTP-Accept/Config/AllowVRFY": "yes",
        "SMTP-Accept/Config/Socket": "2525",
        "Account-Manager/Range/Accounts/Password": r"^\S.{2,}\S$",
    }
    assert found.passed_over["Dispatch/Config/MailboxDir"] == "set here by: postoffice storage move"
    assert "no such key" in found.passed_over["Dispatch/Config/PUFD_DATA_PATH"]
    assert "1 to 10000" in found.passed_over["smtp-accept/Config/MaxBadCommands"]
    assert set(found.passed_over) == {"Dispatch/Config/MailboxDir", "Dispatch/Config/PUFD_DATA_PATH",
                                      "smtp-accept/Config/MaxBadCommands", "smtp-accept/Config/Blob"}


@pytest.mark.parametrize("data", [b"", b"[x]", b"\xff\xfe", b"\xff\xfea", b"REGEDIT4\r\n", b"\x80\x81\xfd\xfe", "日本".encode()])
def test_what_is_no_export_of_post_office_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="regedit"):
        read_registry_file(REGISTRY, data)


def test_an_export_is_read_back() -> None:
    values = list_values(REGISTRY, Snapshot.of(REGISTRY, {"POP3-Server/Config/Banner": 'a "b" \\ c'}), everything=True)
    for data in (export_registry_file(values).encode("utf-16"), export_registry_file(values).encode()):
        found = read_registry_file(REGISTRY, data).values
        assert {key.path: text for key, text in found.items()} == {
            path: text for path, text in values.items() if REGISTRY.get(path).applies is not Applies.PLAN}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for file in (data, b"REGEDIT4\r\n[HKLM\\SOFTWARE\\Software.com\\Post.Office\\A]\r\n" + data):
        try:
            read_registry_file(REGISTRY, file)
        except InputError as error:
            assert "file" in str(error)
