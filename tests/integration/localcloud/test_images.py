"""Images of machines: what they keep, what they leave out, and when they may go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agents.localcloud import images
from agents.localcloud.config import CloudError
from agents.localcloud.images import Images
from agents.localcloud.machine import standing_still
from tests.integration.localcloud.daemon import Daemon, Machine
from tests.waiting import until

pytestmark = pytest.mark.machines
Save = Callable[[Machine], str]


@pytest.fixture
def save(cloud: Daemon) -> Iterator[Save]:
    """Makes images of machines, which go after the test with what was built from them."""
    made: list[str] = []

    def make(machine: Machine) -> str:
        status, image = cloud.ask("POST", "/v1/images", {"node": machine.id, "name": "kept", "tags": {"a": "b"}})
        assert status == 201, image
        made.append(image["id"])
        return made[-1]

    yield make
    cloud.destroy(*(node for node in cloud.nodes().values() if node["image"] in made))
    for id_ in made:
        cloud.ask("DELETE", f"/v1/images/{id_}")


def test_a_machine_of_an_image_has_what_was_written_and_nothing_of_who_wrote_it(
    cloud: Daemon, other: Machine, save: Save
) -> None:
    """Files that were added, changed and removed; no host key, number, name, home, log or account of a person."""
    other.says("echo kept | tee /usr/share/ours /opt/ours /var/lib/ours /etc/ours; rm /usr/share/common-licenses/GPL-3")
    other.says("chmod 640 /etc/ours; useradd -m -u 1500 bob; echo secret | tee /root/x /home/x /tmp/x /var/log/x")
    made = cloud.machine("made", image=save(other))
    assert made.says("cat /usr/share/ours /opt/ours /var/lib/ours /etc/ours") == "\n".join(["kept"] * 4)
    assert made.says("stat -c %a /etc/ours") == "640"
    assert made.fails("test -e /usr/share/common-licenses/GPL-3")
    assert made.says("ls /root /home /tmp /var/log | grep -c ^x$ || true") == "0"
    assert made.fails("getent passwd bob")
    own = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; hostname"
    assert not set(made.says(own).splitlines()) & set(other.says(own).splitlines())


def test_an_image_is_listed_until_it_goes_and_stays_while_a_machine_stands_on_it(
    cloud: Daemon, other: Machine, save: Save
) -> None:
    id_ = save(other)
    listed = {image["id"]: image for image in cloud.ask("GET", "/v1/images")[1]}
    assert (listed[id_]["name"], listed[id_]["base"], listed[id_]["tags"]) == ("kept", "host", {"a": "b"})
    made = cloud.machine("made", image=id_)
    status, answer = cloud.ask("DELETE", f"/v1/images/{id_}")
    assert (status, answer["error"]["code"]) == (409, "in-use")
    assert made.id in answer["error"]["message"]
    assert cloud.ask("POST", "/v1/images", {"node": made.id, "name": "x", "tags": {}})[0] == 409, "made from an image"
    cloud.destroy(made.node)
    assert cloud.ask("DELETE", f"/v1/images/{id_}")[0] == 204
    assert cloud.ask("DELETE", f"/v1/images/{id_}")[0] == 404
    assert list((cloud.state / "images").iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/ssh", "/etc/passwd", "/opt"])
def test_a_link_that_could_lead_the_host_to_its_own_files_makes_no_image(
    cloud: Daemon, other: Machine, path: str
) -> None:
    """A machine's root may put a link where the host would go through."""
    other.says(f"mv {path} {path}.real && ln -s {path}.real {path}")
    status, answer = cloud.ask("POST", "/v1/images", {"node": other.id, "name": "kept", "tags": {}})
    assert (status, answer["error"]["code"]) == (409, "bad-tree")
    assert path in answer["error"]["message"]
    assert list((cloud.state / "images").iterdir()) == []


def test_the_machine_goes_on_after_it_stood_still(other: Machine, save: Save) -> None:
    other.says("sleep 600 > /dev/null 2>&1 < /dev/null & echo $! > /root/pid")
    save(other)
    assert other.says("ps -o stat= -p $(cat /root/pid)").startswith("S")


def test_no_process_runs_while_the_machine_stands_still(other: Machine) -> None:
    """Not one of those either that others were just beginning."""
    other.says("(while :; do (cat /etc/hostname > /root/copy); done) > /dev/null 2>&1 < /dev/null &")
    for _ in range(20):
        with standing_still(other.init):
            until(lambda: states_of(other) <= {"T", "Z"}, "all processes to stand", every=0.002)


def states_of(machine: Machine) -> set[str]:
    """The states of its processes, as the kernel abbreviates them."""
    return {(process / "stat").read_text().rpartition(")")[2].split()[0] for process in machine.processes()}


def test_a_disk_that_cannot_hold_the_image_is_left_as_it_is(
    other: Machine, cloud: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SPARE", 1 << 60)
    kept = Images(cloud.state / "images")
    with pytest.raises(CloudError, match="the host's disk has") as refused:
        kept.save(other.folder, other.init, {"name": "kept"})
    assert refused.value.status == 507
    assert list(kept.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "code"),
    [({"name": "a b"}, "bad-name"), ({"tags": "x"}, "bad-tags"), ({"node": "n-none"}, "no-node")],
)
def test_a_wish_that_is_no_good_is_refused(cloud: Daemon, machine: Machine, wish: dict[str, object], code: str) -> None:
    status, answer = cloud.ask("POST", "/v1/images", {"node": machine.id, "name": "kept", "tags": {}, **wish})
    assert status >= 400
    assert answer["error"]["code"] == code
