"""Secrets: what may be read, what is refused, and that nothing ever prints one."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from trunkline_server.config import secrets
from trunkline_server.config.secret import Secret
from trunkline_server.config.secrets import MAX_SECRET_BYTES, SecretError, SecretResolver

PLAIN = "sk-test-4f9a8b7c6d5e4f3a2b1c"


def resolver(base: Path, environ: dict[str, str] | None = None, *allowed: str) -> SecretResolver:
    return SecretResolver(base, frozenset(allowed), environ or {})


def refused(which: SecretResolver, reference: str) -> str:
    with pytest.raises(SecretError) as caught:
        which.resolve(reference)
    assert PLAIN not in str(caught.value)
    return caught.value.code


def test_a_secret_prints_as_stars() -> None:
    """However it is formatted, nested or shown, a secret's text does not appear."""
    secret = Secret(PLAIN)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    assert set(shown) == {"***"}
    assert PLAIN not in repr({"k": [secret]})
    assert secret.reveal() == PLAIN


def test_secrets_are_equal_by_text_and_carry_a_fingerprint() -> None:
    """Equal texts are equal secrets with the same hash and fingerprint; other texts and types are not."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a").fingerprint == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_a_secret_is_neither_pickled_nor_copied_nor_changed() -> None:
    """Nothing takes the text out of a secret but `reveal`."""
    secret = Secret(PLAIN)
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            way(secret)
    with pytest.raises(AttributeError):
        setattr(secret, "_text", "other")  # noqa: B010 - the type checker refuses the plain form
    with pytest.raises(AttributeError):
        del secret._text


@pytest.mark.parametrize("name", ["TRUNKLINE_SECRET_X", "OPENAI_API_KEY", "OPENAI_API_KEY_A", "MY_OWN"])
def test_permitted_variables_are_read(tmp_path: Path, name: str) -> None:
    """Names for secrets, and those that the operator gave, are read as they are."""
    assert resolver(tmp_path, {name: PLAIN}, "MY_OWN").resolve(f"env:{name}").reveal() == PLAIN


@pytest.mark.parametrize("name", ["PATH", "AWS_SECRET_ACCESS_KEY", "X_TRUNKLINE_SECRET_Y", "", PLAIN, "A_API_KEY=1"])
def test_other_variables_are_refused_without_repeating_the_name(tmp_path: Path, name: str) -> None:
    """Any other name is refused, whether it is set or not; it may be the secret itself."""
    assert refused(resolver(tmp_path, {name: PLAIN}), f"env:{name}") == "secret_not_allowed"


def test_a_variable_must_be_set_and_usable(tmp_path: Path) -> None:
    """Unset, empty, and what no header can carry are told apart."""
    environ = {"A_API_KEY": "", "B_API_KEY": f"{PLAIN}\n", "C_API_KEY": f" {PLAIN}", "D_API_KEY": f"{PLAIN}é"}
    which = resolver(tmp_path, environ)
    codes = [refused(which, f"env:{letter}_API_KEY") for letter in "ABCDE"]
    assert codes == ["secret_empty", "secret_unusable", "secret_unusable", "secret_unusable", "secret_not_found"]


@pytest.mark.parametrize("content", [PLAIN, f"{PLAIN}\n", f"{PLAIN}\r\n"])
def test_one_trailing_newline_of_a_file_is_cut(tmp_path: Path, content: str) -> None:
    """A file's secret is its text without one newline at its end."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "key").write_bytes(content.encode())
    assert resolver(tmp_path).resolve("file:sub/key").reveal() == PLAIN
    assert resolver(tmp_path).resolve(f"file:{tmp_path}/sub/key").reveal() == PLAIN


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "secret_empty"),
        (b"\n", "secret_empty"),
        (PLAIN.encode() + b"\n\n", "secret_unusable"),
        (PLAIN.encode() + b"\nsecond", "secret_unusable"),
        (PLAIN.encode() + b"\x00", "secret_unusable"),
        (PLAIN.encode() + b"\xff", "secret_unusable"),
        (PLAIN.encode() + b" ", "secret_unusable"),
        (b'{"key": "' + PLAIN.encode() + b'\x00"}', "secret_unusable"),
        (b'{"key": "' + PLAIN.encode() + b'"}\nx-more: 1', "secret_unusable"),
        (b"x" * (MAX_SECRET_BYTES + 1), "secret_too_large"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, content: bytes, code: str) -> None:
    """What could not go into a header, or is no secret by its size, is refused."""
    (tmp_path / "key").write_bytes(content)
    assert refused(resolver(tmp_path), "file:key") == code


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_a_document_may_have_many_lines(tmp_path: Path, ending: str) -> None:
    """A file of a cloud's credentials is read as it was downloaded: JSON that is printed over many lines."""
    document = '{\n  "type": "service_account",\r\n\t"project_id": "p"\n}'
    (tmp_path / "account.json").write_text(document + ending, newline="")
    found = resolver(tmp_path, {"G_API_KEY": document})
    assert found.resolve("file:account.json").reveal().strip() == document
    assert found.resolve("env:G_API_KEY").reveal() == document


def test_the_largest_file_is_still_read(tmp_path: Path) -> None:
    """64 KiB is within the bound."""
    (tmp_path / "key").write_bytes(b"x" * MAX_SECRET_BYTES)
    assert len(resolver(tmp_path).resolve("file:key").reveal()) == MAX_SECRET_BYTES


def test_files_are_read_below_the_directory_only(tmp_path: Path) -> None:
    """Neither dots, nor absolute paths, nor links lead out; links inside are followed."""
    base = tmp_path / "secrets"
    base.mkdir()
    (tmp_path / "secrets-more").mkdir()
    for place in (tmp_path / "outside", tmp_path / "secrets-more" / "key", base / "key"):
        place.write_text(PLAIN)
    (base / "out").symlink_to(tmp_path / "outside")
    (base / "in").symlink_to(base / "key")
    (base / "loop").symlink_to(base / "loop")
    which = resolver(base)
    assert which.resolve("file:in").reveal() == PLAIN
    for reference in ("file:../outside", f"file:{tmp_path}/outside", "file:out", "file:../secrets-more/key"):
        assert refused(which, reference) == "secret_not_allowed"
    assert refused(which, "file:loop") == "secret_not_found"
    assert refused(which, f"file:{PLAIN}") == "secret_not_found"
    assert refused(which, "file:key\x00") == "secret_not_found"
    assert refused(which, "file:key/deeper") == "secret_not_found"


def test_a_link_to_the_directory_itself_is_resolved(tmp_path: Path) -> None:
    """The directory may be given through a link, as mounted secrets often are."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "key").write_text(PLAIN)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resolver(tmp_path / "link").resolve("file:key").reveal() == PLAIN


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe would block for ever; it, a directory and a missing directory are errors at once."""
    os.mkfifo(tmp_path / "pipe")
    assert refused(resolver(tmp_path), "file:pipe") == "secret_unreadable"
    assert refused(resolver(tmp_path), "file:.") == "secret_unreadable"
    assert refused(resolver(tmp_path / "none"), "file:key") == "secret_not_found"


def test_a_literal_is_no_reference(tmp_path: Path) -> None:
    """A secret itself in the place of a reference is refused and not repeated."""
    assert refused(resolver(tmp_path), PLAIN) == "literal_secret"


def test_a_resolver_does_not_print_the_environment(tmp_path: Path) -> None:
    """Its repr leaves out the variables."""
    assert PLAIN not in repr(resolver(tmp_path, {"A_API_KEY": PLAIN}))


def test_a_secret_that_is_rotated_while_it_is_read_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory behind a link is removed between following the link and opening the file: the new one is read."""
    for version in ("1", "2"):
        (tmp_path / f"v{version}").mkdir()
        (tmp_path / f"v{version}" / "key").write_text(f"sk-{version}")
    link = tmp_path / "data"
    link.symlink_to("v1")
    read = secrets._read_regular_file

    def rotated(path: Path) -> bytes:
        if path.parent.name == "v1":
            path.unlink()
            link.unlink()
            link.symlink_to("v2")
        return read(path)

    monkeypatch.setattr(secrets, "_read_regular_file", rotated)
    assert resolver(tmp_path).resolve("file:data/key") == Secret("sk-2")
