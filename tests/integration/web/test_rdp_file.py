"""The downloaded .rdp file: the gateway's address and a ticket in it, and no machine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from broker.connections.models import Ticket, Way
from broker.pools.models import Machine
from broker.runtime import Runtime
from broker.settings import RdpSettings, WebSettings
from tests.integration.web.conftest import AppWith


def lines(browser: FlaskClient, session: int) -> dict[str, str]:
    """The file's settings by name."""
    answer = browser.get(f"/api/v1/sessions/{session}/connection.rdp")
    assert answer.status_code == 200
    assert answer.mimetype == "application/x-rdp"
    assert f"beamdesk-{session}.rdp" in answer.headers["Content-Disposition"]
    return {line.split(":")[0]: line.split(":", 2)[2] for line in answer.text.split("\r\n") if line}


def test_the_file_names_the_gateway_and_no_machine(alice: FlaskClient, runtime: Runtime, ready_session: int) -> None:
    """Nothing that somebody who finds it could reach by itself."""
    found = lines(alice, ready_session)
    assert found["full address"] == "localhost:3389"
    with runtime.database.reading() as db:
        address = db.scalars(select(Machine.address)).one()
    assert address
    assert address not in str(found)


def test_each_download_is_a_ticket_of_its_own_for_this_door(
    alice: FlaskClient, runtime: Runtime, ready_session: int
) -> None:
    """It lives for as long as the settings say."""
    files = [lines(alice, ready_session) for _ in range(2)]
    assert files[0]["loadbalanceinfo"] != files[1]["loadbalanceinfo"]
    with runtime.database.reading() as db:
        tickets = db.scalars(select(Ticket)).all()
    assert [(ticket.way, ticket.session_id) for ticket in tickets] == [(Way.RDP, ready_session)] * 2
    assert all(ticket.expires_at - ticket.created_at > timedelta(minutes=9) for ticket in tickets)


@pytest.mark.parametrize(
    ("rdp", "address"),
    [
        (RdpSettings(listen="0.0.0.0:3390"), "desk.example:3390"),
        (RdpSettings(public_address="rdp.example:443"), "rdp.example:443"),
    ],
)
def test_the_public_address_is_the_portals_host_or_what_the_settings_say(
    app_with: AppWith, alice: FlaskClient, ready_session: int, rdp: RdpSettings, address: str
) -> None:
    """With the port at which the gateway listens."""
    app = app_with(rdp=rdp, web=WebSettings(public_url="https://desk.example"))
    token = alice.get_cookie("beamdesk")
    assert token is not None
    with app.test_client() as program:
        program.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token.value}"
        assert lines(program, ready_session)["full address"] == address
