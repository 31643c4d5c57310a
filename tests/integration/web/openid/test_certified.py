"""A real browser, and two certified providers side by side: one that tells at userinfo, one in the ID token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select, update

from broker.database import now
from broker.identity import providers, refreshing
from broker.identity.models import SignIn
from broker.runtime import Runtime
from tests.conftest import FakeLauncher
from tests.integration.web.openid.conftest import NewDeployment
from tests.integration.web.served import is_live, serve
from tests.peers.oidc.certified import SECRET, Certified, certified
from tests.ports import free_port
from web.app import create_app

SCOPES = ["openid", "profile", "email", "groups", "wlcg.groups", "eduperson_entitlement", "voperson_id"]
ALICE = {
    "preferred_username": "Alice.Muon",
    "name": "Alice Muon",
    "email": "alice@example.org",
    "email_verified": True,
    "voperson_id": "abc123@egi.eu",
    "groups": ["dls"],
    "wlcg.groups": ["/isis/excitations"],
    "eduperson_entitlement": ["urn:mace:egi.eu:group:vo.isis:role=member#aai.egi.eu"],
}


@dataclass(frozen=True)
class Peers:
    """Where Beamdesk is to be, and the providers that know it."""

    port: int
    home: str
    facility: Certified
    other: Certified


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Two processes of the provider, for all tests."""
    port = free_port()
    home, folder = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("oidc")
    with certified(folder, home, "userinfo") as facility, certified(folder, home, "token") as other:
        yield Peers(port, home, facility, other)


@pytest.fixture
def runtime_of_two(peers: Peers, deployment: NewDeployment, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The deployment; Alice is known to both providers."""
    for provider in (peers.facility, peers.other):
        provider.people = {}
        provider.says("alice", **ALICE)
    monkeypatch.setenv("OF_CERTIFIED", SECRET)
    usual = {"client_id": "beamdesk", "client_secret_env": "OF_CERTIFIED", "scopes": SCOPES}
    usual |= {"entitlement_namespaces": ["urn:mace:egi.eu"]}
    return deployment(
        facility={**usual, "title": "Facility", "issuer": peers.facility.issuer},
        other={**usual, "title": "Other", "issuer": peers.other.issuer},
        web={"public_url": peers.home},
    )


@pytest.fixture
def served(peers: Peers, runtime_of_two: Runtime, launcher: FakeLauncher) -> Iterator[str]:
    """The portal, where the providers expect it."""
    with serve(create_app(runtime_of_two, launcher), peers.port):
        yield peers.home


NewBrowser = Callable[[], BrowserContext]


@pytest.fixture
def new_browser(windowless_chromium: Browser) -> Iterator[NewBrowser]:
    """Opens browsers that know nobody yet."""
    opened: list[BrowserContext] = []

    def make() -> BrowserContext:
        opened.append(windowless_chromium.new_context(viewport={"width": 1280, "height": 800}))
        opened[-1].set_default_timeout(30_000)
        return opened[-1]

    yield make
    for context in opened:
        context.close()


def through(page: Page, home: str, title: str = "Facility", name: str = "alice") -> None:
    """From the sign-in page through the provider's form, and back."""
    page.goto(f"{home}/sign-in?next=/account")
    page.get_by_role("link", name=title).click()
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", "any")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{home}/account")


def test_a_first_sign_in_and_a_return(served: str, new_browser: NewBrowser, runtime_of_two: Runtime) -> None:
    """The account is made from what the provider says; the second time the provider asks for nothing."""
    context = new_browser()
    page = context.new_page()
    through(page, served)
    expect(page.get_by_role("heading", name="Alice Muon")).to_be_visible()
    expect(page.locator(".account-facts")).to_contain_text("alice-muon")
    expect(page.locator(".account-facts")).to_contain_text("/isis/excitations, dls, vo.isis, vo.isis:role=member")
    expect(page.get_by_text("This one")).to_be_visible()
    expect(page.locator("#account")).to_contain_text("Chromium on Linux")
    page.goto("about:blank")  # a page that sees the cookie gone leads to the sign-in page by itself
    context.clear_cookies(name="beamdesk")
    page.goto(f"{served}/history")
    page.get_by_role("link", name="Facility").click()
    page.wait_for_url(f"{served}/history")
    with runtime_of_two.database.reading() as db:
        assert len(db.scalars(select(SignIn.user_id).distinct()).all()) == 1


def test_groups_change_while_somebody_is_signed_in(
    served: str, new_browser: NewBrowser, runtime_of_two: Runtime, peers: Peers
) -> None:
    """The certified provider rotates its refresh tokens; the open page shows what came of it."""
    page = new_browser().new_page()
    through(page, served)
    is_live(page)
    for groups in (["dls", "few"], ["few"]):
        peers.facility.says("alice", groups=groups)
        with runtime_of_two.database.transaction() as db:
            db.execute(update(SignIn).values(refresh_at=now() - timedelta(seconds=1)))
            id_ = db.scalars(select(SignIn.id)).one()
        assert refreshing.refresh(runtime_of_two, id_)
        expect(page.locator(".account-facts")).to_contain_text("few")
        expect(page.locator(".account-facts")).to_contain_text("dls" if "dls" in groups else "few")
    expect(page.locator(".account-facts")).not_to_contain_text("dls")


def test_who_has_left_is_out_at_the_next_refresh(
    served: str, new_browser: NewBrowser, runtime_of_two: Runtime, peers: Peers
) -> None:
    """The provider's no ends the sign-in, and the open page leads to the sign-in page."""
    page = new_browser().new_page()
    through(page, served)
    is_live(page)
    peers.facility.forgets("alice")
    with runtime_of_two.database.transaction() as db:
        db.execute(update(SignIn).values(refresh_at=now() - timedelta(seconds=1)))
        id_ = db.scalars(select(SignIn.id)).one()
    refreshing.refresh(runtime_of_two, id_)
    page.wait_for_url(f"{served}/sign-in*")


def test_signing_out_at_the_provider_closes_the_portal(served: str, new_browser: NewBrowser, peers: Peers) -> None:
    """Back-channel: the open page goes within two seconds; another browser of the same person stays."""
    context, elsewhere = new_browser(), new_browser()
    page, other = context.new_page(), elsewhere.new_page()
    through(page, served)
    through(other, served)
    is_live(page)
    provider = context.new_page()
    provider.goto(f"{peers.facility.issuer}/session/end")
    provider.get_by_role("button", name="Yes, sign me out").click()
    began = time.monotonic()
    page.wait_for_url(f"{served}/sign-in*")
    assert time.monotonic() - began < 3
    other.reload()
    expect(other.get_by_role("heading", name="Alice Muon")).to_be_visible()


def test_signing_out_here_goes_on_at_the_provider(served: str, new_browser: NewBrowser, peers: Peers) -> None:
    """RP-initiated: afterwards the provider asks for the password again."""
    page = new_browser().new_page()
    through(page, served)
    page.get_by_role("button", name="Alice Muon: account menu").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{peers.facility.issuer}/session/end*")
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{served}/sign-in*")
    page.get_by_role("link", name="Facility").click()
    expect(page.locator("input[name=password]")).to_be_visible()


def test_the_provider_comes_back_with_other_keys(served: str, new_browser: NewBrowser, peers: Peers) -> None:
    """Rotated while we run: the next sign-in fetches them."""
    page = new_browser().new_page()
    through(page, served)
    peers.facility.stop()
    peers.facility.start()
    providers._known["facility"]._keys_at -= providers.KEYS_AGAIN
    page = new_browser().new_page()
    through(page, served)
    expect(page.get_by_role("heading", name="Alice Muon")).to_be_visible()


def test_an_identity_of_the_second_provider_is_added_on_the_page(
    served: str, new_browser: NewBrowser, peers: Peers
) -> None:
    """From then on either button leads to the same account."""
    page = new_browser().new_page()
    through(page, served)
    page.get_by_role("button", name="Add Other").click()
    page.fill("input[name=login]", "alice")
    page.fill("input[name=password]", "any")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{served}/account")
    expect(page.get_by_role("button", name="Add Other")).to_have_count(0)
    page = new_browser().new_page()
    through(page, served, "Other")
    expect(page.locator(".account-facts")).to_contain_text("alice-muon")
    expect(page.locator("#account")).to_contain_text("Facility")


def test_who_cancels_at_the_provider_is_told_so(served: str, new_browser: NewBrowser) -> None:
    """And may try again."""
    page = new_browser().new_page()
    page.goto(f"{served}/sign-in")
    page.get_by_role("link", name="Facility").click()
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url(f"{served}/sign-in/facility/callback*")
    expect(page.get_by_role("alert")).to_contain_text("Facility did not sign you in")
    expect(page.get_by_role("link", name="Facility")).to_be_visible()


def test_the_back_button_signs_nobody_in_twice(served: str, new_browser: NewBrowser) -> None:
    """The answer that was used is no answer."""
    page = new_browser().new_page()
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if "/callback?" in request.url else None)
    through(page, served)
    page.goto(seen[-1])
    expect(page.get_by_role("alert")).to_contain_text("has begun no sign-in")


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_as_wide_as_the_screen(served: str, new_browser: NewBrowser, width: int, tmp_path: Path) -> None:
    """On a phone, too; the pictures are for who wants to look."""
    page = new_browser().new_page()
    page.set_viewport_size({"width": width, "height": 844 if width < 500 else 800})
    page.goto(f"{served}/sign-in")
    pictures = Path("build/pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures / f"sign-in-{width}.png")
    through(page, served)
    expect(page.get_by_text("This one")).to_be_visible()
    page.screenshot(path=pictures / f"account-{width}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
