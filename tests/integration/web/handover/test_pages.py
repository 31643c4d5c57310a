"""A session is handed over on the pages and by the command: by whoever has read what it means."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from playwright.sync_api import expect

from broker import cli
from broker.client import account
from broker.identity import service as identity
from broker.runtime import Runtime
from broker.sharing import handover
from tests.integration.web.conftest import OpenAs
from tests.integration.web.handover.conftest import TEAM, expired, offered
from tests.integration.web.served import is_live


def test_it_is_handed_over_on_the_pages(
    alice: FlaskClient, bob: FlaskClient, one: int, open_as: OpenAs, runtime: Runtime
) -> None:
    """Refused, withdrawn, too old; then by keyboard, live on both sides. The receiver cannot accept unread."""
    giver, receiver = open_as("alice", groups=TEAM), open_as("bob", groups=TEAM, width=390)
    for page in (giver, receiver):
        is_live(page)
    tell_nothing = lambda: [expect(page.locator("#notices .notice")).to_have_count(0) for page in (giver, receiver)]  # noqa: E731
    for who, answer in ((receiver, "Refuse"), (giver, "Withdraw")):
        offered(alice, one)
        who.get_by_role("button", name=answer).click()
        tell_nothing()
    found = offered(alice, one)
    expect(receiver.get_by_role("button", name="Refuse")).to_be_visible()
    expired(alice, bob, found, runtime)
    handover.close_over(runtime)
    tell_nothing()
    tops = "row => [...row.children].map((one) => one.getBoundingClientRect().top)"
    assert len(set(giver.locator(f"#session-{one} .desk-actions").evaluate(tops))) == 1, "its buttons are in one row"
    lease = giver.locator(f"#session-{one} .lease")
    ends = lease.get_attribute("data-ends") or ""
    giver.locator(f"#more-{one}").focus()
    giver.keyboard.press("ArrowDown")
    expect(giver.locator(f"#hand-over-{one}")).to_be_focused()
    alice.post(f"/api/v1/sessions/{one}/extend", json={"hours": 1})
    expect(lease).not_to_have_attribute("data-ends", ends)
    giver.keyboard.press("Enter")  # the menu is open still, although the card was fetched afresh
    dialog = giver.locator("#confirm")
    expect(dialog).to_contain_text("Who has it works in your name")
    giver.keyboard.type("eve")
    giver.keyboard.press("Enter")
    expect(dialog).to_contain_text("There is no user 'eve'.")
    dialog.get_by_label("To (account name)").fill("bob")
    giver.keyboard.press("Enter")
    expect(giver.locator(f"#more-{one}")).to_be_focused()
    expect(giver.locator("#notices")).to_contain_text("You offer Light desktop")
    notice = receiver.locator("#notices")
    expect(notice).to_contain_text(f"Alice hands a desktop over to you: Light desktop, no. {one}")
    receiver.get_by_role("button", name="Read and accept…").focus()
    receiver.keyboard.press("Enter")
    expect(receiver.locator("#confirm")).to_contain_text("saved in the home of Alice")
    receiver.keyboard.press("Enter")
    expect(receiver.locator("#confirm")).to_be_visible()
    receiver.keyboard.press("Space")
    receiver.keyboard.press("Enter")
    expect(receiver.locator(f"#session-{one}")).to_contain_text("runs under the account of Alice")
    expect(giver.locator(f"#session-{one}")).to_have_count(0)
    tell_nothing()
    giver.goto(giver.url + "history")
    expect(giver.get_by_role("region", name="Handed over")).to_contain_text(f"no. {one}, to Bob (bob)")


@pytest.mark.usefixtures("bob")
def test_an_administrator_hands_it_over_on_the_dashboard(alice: FlaskClient, one: int, open_as: OpenAs) -> None:
    """With a reason, without which nothing is sent; on a phone."""
    page = open_as("ada", "/admin/", admin=True, width=390)
    page.get_by_role("button", name="More for Alice's Light desktop").click()
    page.get_by_role("button", name="Hand over…").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("under the account of Alice")
    dialog.get_by_label("To (account name)").fill("bob")
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Why (Alice reads it)")).to_be_focused()
    page.keyboard.type("She has left.")
    page.keyboard.press("Enter")
    expect(page.locator("#notices")).to_contain_text(f"You offer Light desktop, no. {one} of Alice, to Bob")
    assert "She has left." in alice.get("/").text


def test_it_is_handed_over_by_the_command(
    alice: FlaskClient, bob: FlaskClient, one: int, site: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offered and accepted, each by whoever has read what it means; what is wrong is said."""
    tokens = {name: identity.sign_in(runtime, name, f"{name}-secret")[0] for name in ("alice", "bob")}

    def run(who: str, *words: str, answer: str = "") -> tuple[int, str]:
        signed = account.Account(url=site, token=tokens[who], name=who, until="")
        monkeypatch.setattr(account, "load", lambda: signed)
        done = CliRunner().invoke(cli.main, words, input=answer)
        return done.exit_code, done.output + done.stderr

    give = ("hand-over", str(one), "bob")
    assert "No session is offered to you" in run("bob", "accept")[1]
    assert run("alice", *give, answer="n")[0] == 1
    code, said = run("alice", *give, answer="y")
    assert (code, "delete the files in your\nhome" in said, "offered to Bob (bob)" in said) == (0, True, True)
    assert "No session is offered to you" in run("alice", "accept")[1]
    assert run("bob", "accept", answer="n")[0] == 1
    code, said = run("bob", "accept", answer="y")
    assert (code, "saved in the home of Alice" in said, f"Session {one} is yours now" in said) == (0, True, True)
    assert "You have handed session" in run("alice", *give, "--yes")[1]
