"""SSH keys and certificates over the API and in a real browser; OpenSSH says what was made."""

from __future__ import annotations

import base64
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import select

from broker.client import desktops
from broker.client.api import Api
from broker.connections.models import Certificate
from broker.database import now
from broker.events import Event
from broker.runtime import Runtime
from broker.sessions.models import UserSession
from tests.integration.web.conftest import OpenAs, SignedIn
from tests.ssh import new_key
from tests.waiting import until

HEADER = {"X-Requested-With": "test"}
KEYS = "/api/v1/me/keys"
PICTURES = Path("build/pictures")


def described(folder: Path, certificate: str) -> str:
    """What OpenSSH says of a certificate."""
    file = folder / "certificate.pub"
    file.write_text(certificate + "\n")
    return subprocess.run(["ssh-keygen", "-L", "-f", str(file)], capture_output=True, text=True, check=True).stdout


def test_a_key_is_registered_listed_and_removed(alice: FlaskClient, tmp_path: Path, runtime: Runtime) -> None:
    """With its fingerprint, as OpenSSH shows it; each step is in the audit log."""
    line = new_key(tmp_path / "key")
    added = alice.post(KEYS, json={"name": "laptop", "public_key": line})
    assert (added.status_code, added.json["name"], added.json["used_at"]) == (201, "laptop", None)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")], capture_output=True, text=True)
    assert added.json["fingerprint"] == shown.stdout.split()[1]
    assert [key["id"] for key in alice.get(KEYS).json] == [added.json["id"]]
    assert alice.delete(f"{KEYS}/{added.json['id']}", headers=HEADER).status_code == 204
    assert alice.get(KEYS).json == []
    assert alice.delete(f"{KEYS}/{added.json['id']}", headers=HEADER).status_code == 404
    with runtime.database.reading() as db:
        actions = list(db.scalars(select(Event.action).where(Event.kind == "key")))
    assert actions == ["key:save", "key:remove"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [(("-t", "rsa", "-b", "2048"), 422, "weak-key"), (("-t", "rsa", "-b", "3072"), 201, None)],
)
def test_a_weak_key_is_refused(
    alice: FlaskClient, tmp_path: Path, kind: tuple[str, ...], status: int, code: str | None
) -> None:
    line = new_key(tmp_path / "key", *kind)
    answer = alice.post(KEYS, json={"name": "old", "public_key": line})
    assert (answer.status_code, answer.json.get("code")) == (status, code)


def test_a_key_that_somebody_else_has_registered_keeps_its_owner_from_nothing(
    alice: FlaskClient, signed_in: SignedIn, ready_session: int, tmp_path: Path
) -> None:
    """Theirs is not listed, not removed, not signed for; one's own is, and stays when theirs goes."""
    bob, line = signed_in("bob"), new_key(tmp_path / "key")
    id_ = bob.post(KEYS, json={"name": "bobs", "public_key": line}).json["id"]
    assert alice.get(KEYS).json == []
    assert alice.delete(f"{KEYS}/{id_}", headers=HEADER).status_code == 404
    certificates = f"/api/v1/sessions/{ready_session}/certificates"
    assert alice.post(certificates, json={"key": id_}).json["code"] == "not-found"
    own = alice.post(KEYS, json={"name": "mine", "public_key": line}).json["id"]
    assert bob.delete(f"{KEYS}/{id_}", headers=HEADER).status_code == 204
    for body in ({"key": own}, {"public_key": line}):
        assert alice.post(certificates, json=body).status_code == 201


def test_a_certificate_says_for_what_and_until_when(
    alice: FlaskClient, ready_session: int, tmp_path: Path, runtime: Runtime
) -> None:
    """Its serial is its row; it ends with the lease; the broker's authority signed it; the file holds no secret."""
    line = new_key(tmp_path / "key")
    id_ = alice.post(KEYS, json={"name": "laptop", "public_key": line}).json["id"]
    issued = alice.post(f"/api/v1/sessions/{ready_session}/certificates", json={"key": id_})
    assert issued.status_code == 201, issued.text
    told = described(tmp_path, issued.json["certificate"])
    serial = issued.json["serial"]
    assert f"Serial: {serial}\n" in told
    assert re.findall(r"^ {16}((?:session|certificate)-\d+)$", told, re.M) == [
        f"session-{ready_session}",
        f"certificate-{serial}",
    ]
    assert f'Key ID: "alice in session {ready_session}"' in told
    with runtime.database.reading() as db:
        row, session = db.get_one(Certificate, serial), db.get_one(UserSession, ready_session)
        event = db.scalars(select(Event).where(Event.action == "certificate:issue")).one()
    assert (row.ssh_key_id, row.expires_at) == (id_, session.expires_at)
    assert (event.subject, event.actor, event.detail["fingerprint"]) == (str(serial), "alice", row.fingerprint)
    assert session.expires_at is not None
    ends = re.search(r"Valid: from \S+ to (\S+)", told)
    assert ends
    last = datetime.fromisoformat(ends[1]).astimezone(UTC)
    assert timedelta(0) <= session.expires_at - last < timedelta(seconds=3)
    assert issued.json["key_file"] is None
    assert "PRIVATE KEY" not in issued.text
    assert "127.0.0.1" not in issued.json["config"]
    assert " -p 2222 " in issued.json["config"]


def test_no_two_certificates_have_one_serial(alice: FlaskClient, ready_session: int, tmp_path: Path) -> None:
    line = new_key(tmp_path / "key")
    path = f"/api/v1/sessions/{ready_session}/certificates"
    serials = [alice.post(path, json={"public_key": line}).json["serial"] for _ in range(3)]
    assert len(set(serials)) == 3


@pytest.mark.parametrize("body", [{}, {"key": 1, "public_key": "ssh-ed25519 AAAA"}, {"public_key": "hello"}])
def test_a_certificate_is_for_one_key(alice: FlaskClient, ready_session: int, body: dict[str, object]) -> None:
    answer = alice.post(f"/api/v1/sessions/{ready_session}/certificates", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid-request")


def test_a_certificate_is_signed_for_the_owner_of_a_ready_session_only(
    alice: FlaskClient, admin: FlaskClient, signed_in: SignedIn, ready_session: int, tmp_path: Path
) -> None:
    """An administrator gets none either; nor does the owner of one that waits, or is over."""
    body = {"public_key": new_key(tmp_path / "key")}
    path = f"/api/v1/sessions/{ready_session}/certificates"
    assert signed_in("bob").post(path, json=body).status_code == 404
    assert admin.post(path, json=body).status_code == 403
    queued = alice.post("/api/v1/sessions", json={"environment": "science"}).json["id"]
    assert alice.post(f"/api/v1/sessions/{queued}/certificates", json=body).json["code"] == "session-not-ready"
    alice.delete(f"/api/v1/sessions/{ready_session}", headers=HEADER)
    assert alice.post(path, json=body).json["code"] == "session-not-ready"


def test_a_lease_that_is_over_has_no_certificate(
    alice: FlaskClient, ready_session: int, runtime: Runtime, tmp_path: Path
) -> None:
    """In the moment before its session is ended."""
    with runtime.database.transaction() as db:
        db.get_one(UserSession, ready_session).expires_at = now() - timedelta(seconds=1)
    answer = alice.post(
        f"/api/v1/sessions/{ready_session}/certificates", json={"public_key": new_key(tmp_path / "key")}
    )
    assert (answer.status_code, answer.json["code"]) == (409, "session-not-ready")
    with runtime.database.reading() as db:
        assert db.scalar(select(Certificate.id)) is None


OLD = """() => {
const make = crypto.subtle.generateKey.bind(crypto.subtle);
crypto.subtle.generateKey = (kind, ...rest) =>
  kind.name === "Ed25519" ? Promise.reject(new DOMException("no", "NotSupportedError")) : make(kind, ...rest);
}"""  # a browser from before 2025


def download(page: Page) -> str:
    """The SSH file, as the browser's download has it."""
    page.get_by_role("button", name="Connect").click()
    with page.expect_download() as coming:
        page.get_by_role("button", name=".conf").click()
    assert re.fullmatch(r"beamdesk-\d+\.conf", coming.value.suggested_filename)
    return coming.value.path().read_text()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_the_file_of_a_browser_has_a_key_that_openssh_reads(
    open_as: OpenAs, ready_session: int, tmp_path: Path, kind: str
) -> None:
    """Made in it, of the kind that it has; the private half is in the file, and in nothing that was sent."""
    sent: list[str] = []
    for turn in range(4):  # numbers that begin with a zero are written shorter
        page = open_as("alice")
        page.on("request", lambda request: sent.append(request.post_data or ""))
        if kind != "ssh-ed25519":
            page.evaluate(OLD)
        home = tmp_path / str(turn)
        home.mkdir()
        file = home / "file.conf"
        file.write_text(download(page).replace("%d", str(home)))
        ssh = ["ssh", "-G", "-F", str(file), "desktop"]
        subprocess.run(ssh, check=True, capture_output=True)  # it runs what writes key and certificate
        key = home / f".ssh/beamdesk-{ready_session}"
        assert key.stat().st_mode & 0o777 == 0o600
        derived = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True)
        assert derived.returncode == 0, derived.stderr
        public = " ".join(derived.stdout.split()[:2])
        assert public.startswith(f"{kind} ")
        assert any(public in body for body in sent)
        shown = subprocess.run(["ssh-keygen", "-L", "-f", f"{key}-cert.pub"], capture_output=True, text=True).stdout
        fingerprint = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True).stdout
        assert fingerprint.split()[1] in shown
        assert not any("PRIVATE" in body or key.read_text()[60:120] in body for body in sent)


def test_the_file_for_a_registered_key_holds_no_secret(
    open_as: OpenAs, alice: FlaskClient, ready_session: int, tmp_path: Path
) -> None:
    """It is offered by name where there is one."""
    page = open_as("alice")
    page.get_by_role("button", name="Connect").click()
    expect(page.locator("[data-ssh-keys]")).to_be_hidden()
    line = new_key(tmp_path / "key")
    alice.post(KEYS, json={"name": "laptop", "public_key": line})
    page.reload()
    page.get_by_role("button", name="Connect").click()
    page.locator("[data-ssh-keys] select").select_option(label="laptop (Ed25519, 256 bits)")
    with page.expect_download() as coming:
        page.get_by_role("button", name=".conf").click()
    text = coming.value.path().read_text()
    assert "IdentityFile" not in text
    assert text.count("base64 -d") == 2  # the certificate: compared, and written


def test_where_a_page_may_make_no_key_it_says_what_to_do(open_as: OpenAs, ready_session: int) -> None:
    """As without https."""
    page = open_as("alice")
    page.evaluate("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page.get_by_role("button", name="Connect").click()
    page.get_by_role("button", name=".conf").click()
    expect(page.locator("#toasts")).to_contain_text("Register a key of your own")


def test_keys_are_added_and_removed_on_their_page(open_as: OpenAs, tmp_path: Path, alice: FlaskClient) -> None:
    """By keyboard alone; a mistake is told."""
    line = new_key(tmp_path / "key")
    page = open_as("alice", "/keys")
    expect(page.locator("#keys")).to_contain_text("You have no key here")
    page.get_by_role("button", name="Add a key").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("My laptop")
    page.keyboard.press("Tab")
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_contain_text("This is no SSH public key")
    page.get_by_label("Public key").fill(line)
    page.keyboard.press("Enter")
    expect(page.locator("#keys tbody tr")).to_contain_text("My laptop")
    expect(page.locator("#keys tbody tr")).to_contain_text("never")
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.locator("#keys")).to_contain_text("You have no key here")
    assert alice.get(KEYS).json == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_keys_fits(open_as: OpenAs, alice: FlaskClient, tmp_path: Path, width: int) -> None:
    """Nothing is wider than the window."""
    for number in range(2):
        alice.post(KEYS, json={"name": f"key {number} of mine", "public_key": new_key(tmp_path / str(number))})
    page = open_as("alice", "/keys", width=width)
    expect(page.locator("#keys tbody tr")).to_have_count(2)
    until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page to fit", 5)
    page.screenshot(path=PICTURES / f"keys-{width}.png", full_page=True)


def test_the_command_makes_a_key_of_its_own(
    site: str, alice: FlaskClient, ready_session: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`beamdesk ssh`: the private half lies where its file expects it, and only its owner reads it."""
    monkeypatch.setattr(desktops, "_keys_folder", lambda: tmp_path / ".ssh")
    signed = alice.post("/api/v1/sign-in", json={"name": "alice", "password": "alice-secret"})
    for _ in range(2):  # a second use replaces the first one's key
        config = desktops._ssh_file(Api(site, signed.json["token"]), ready_session)
    assert f"~/.ssh/beamdesk-{ready_session}" in config
    assert [path.name for path in (tmp_path / ".ssh").iterdir()] == [f"beamdesk-{ready_session}"]
    key = tmp_path / ".ssh" / f"beamdesk-{ready_session}"
    assert key.stat().st_mode & 0o777 == 0o600
    public = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True, check=True).stdout
    text = re.search(r"echo (\S+) \| base64", config)
    assert text
    assert public.split()[1] in described(tmp_path, base64.b64decode(text[1]).decode().strip())
