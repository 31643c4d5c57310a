"""The SSH gateway at its start: what it needs, in plain words."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from broker.errors import BadSettings
from broker.gateways import ssh
from broker.runtime import Runtime
from broker.settings import Settings, SshSettings, WebSettings


def test_a_gateway_under_another_account_than_files_say_does_not_start(runtime: Runtime) -> None:
    """Every login would be refused."""
    runtime.settings = runtime.settings.model_copy(update={"ssh": SshSettings(account="somebody")})
    with pytest.raises(BadSettings, match="this gateway runs as"):
        ssh.run(runtime)


def test_a_gateway_that_cannot_listen_says_where(runtime: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        runtime.settings = runtime.settings.model_copy(update={"ssh": SshSettings(listen=listen)})
        with pytest.raises(BadSettings, match=listen):
            ssh.run(runtime)


def test_files_name_the_portals_host_and_our_own_port_where_nothing_else_is_said(settings: Settings) -> None:
    web = WebSettings(public_url="https://desks.example.org")
    plain = settings.model_copy(update={"web": web, "ssh": SshSettings(listen="0.0.0.0:2200")})
    assert plain.ssh_address == ("desks.example.org", 2200)
    assert plain.ssh_account == pwd.getpwuid(os.getuid()).pw_name
    told = SshSettings(public_host="ssh.example.org", public_port=22, account="jump")
    other = settings.model_copy(update={"ssh": told})
    assert (other.ssh_address, other.ssh_account) == (("ssh.example.org", 22), "jump")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a;b", "a'b", "a\nb"])
def test_a_public_host_is_no_option_of_sshs(host: str) -> None:
    with pytest.raises(ValueError, match="public_host"):
        SshSettings(public_host=host)
