"""What the tunnels' sshd is told: whom it lets in, and what it never does."""

from __future__ import annotations

import subprocess
from pathlib import Path

from broker.configuration import ca
from broker.gateways import sshd, tunnels
from broker.pools.tunnels import End


def test_each_machine_is_let_in_to_listen_at_its_own_address_alone() -> None:
    assert tunnels.machines([End("127.80.0.7", "ssh-ed25519 AAAA")]) == (
        "restrict,port-forwarding,"
        'permitlisten="127.80.0.7:10022",permitlisten="127.80.0.7:15901",permitlisten="127.80.0.7:13389",'
        'permitlisten="127.80.0.7:13390",permitlisten="127.80.0.7:15902",permitlisten="127.80.0.7:15903",'
        'command="/bin/false" ssh-ed25519 AAAA\n'
    )
    assert tunnels.machines([]) == ""


def test_its_sshd_has_the_configuration_that_was_meant(tmp_path: Path) -> None:
    """As OpenSSH itself reads it, in a folder with a space and a per cent sign in its name."""
    folder = tmp_path / "a 100% folder"
    folder.mkdir()
    host = ca.gateway_host(folder / "secrets")
    path = sshd.put(folder, tunnels.configuration(host, "beamdesk", folder / "machines"))
    line = [sshd.program(), "-T", "-f", str(path)]
    read = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {
        *("allowtcpforwarding remote", "gatewayports clientspecified"),
        *("permitopen none", "permittty no", "allowstreamlocalforwarding no", "passwordauthentication no"),
        *("allowagentforwarding no", "x11forwarding no", "permittunnel no", "maxsessions 0", "forcecommand /bin/false"),
        *("authenticationmethods publickey", "allowusers beamdesk", "clientaliveinterval 5", "clientalivecountmax 3"),
        *("logingracetime 20", "permitlisten *:10022 *:15901 *:13389 *:13390 *:15902 *:15903"),
        f"authorizedkeysfile {str(folder).replace('%', '%%')}/machines",
    } <= set(read)
