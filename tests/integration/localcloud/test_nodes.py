"""The cloud's behaviour over its API: nodes and volumes come, are listed and go as a cloud's do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.localcloud.machine import birth
from tests.integration.localcloud.daemon import Daemon, Machine, MakeDaemon
from tests.waiting import until

pytestmark = pytest.mark.machines


def test_a_node_is_asked_for_and_runs_some_time_later(cloud: Daemon) -> None:
    asked = cloud.create("later", tags={"a": "b"}, location="dl")
    assert (asked["state"], asked["host_key"], asked["error"]) == ("pending", None, None)
    node = cloud.running(asked)[0]
    assert node["host_key"].startswith("ssh-ed25519 ")
    unchanged = ("id", "name", "address", "size", "image", "location", "tags", "created_at")
    assert {key: node[key] for key in unchanged} == {key: asked[key] for key in unchanged}
    assert cloud.nodes()[node["id"]] == node
    cloud.destroy(node)


def test_a_destroyed_node_is_terminated_and_nothing_of_it_is_left(cloud: Daemon) -> None:
    machine = cloud.machine("ends")
    pids = [int(process.name) for process in machine.processes()]
    assert cloud.ask("DELETE", f"/v1/nodes/{machine.id}")[1]["state"] == "stopping"
    until(lambda: cloud.state_of(machine.id) == "terminated", "the node to end")
    assert not [entry for entry in cloud.leftovers() if machine.id in entry or machine.id[-6:] in entry]
    assert not any(map(birth, pids))


def test_machines_that_come_and_go_do_not_move_the_host(own_cloud: MakeDaemon) -> None:
    """What machines send to the host reaches it, whatever cables were added or taken since they learned its address."""
    cloud = own_cloud().start()
    address = Path(f"/sys/class/net/{cloud.bridge}/address")
    at_first = address.read_text()
    first = cloud.machine("first")
    assert address.read_text() == at_first
    cloud.destroy(cloud.machine("second").node)
    assert address.read_text() == at_first
    assert at_first.strip() in first.says("ip neigh show dev eth0")


def test_destroying_again_is_the_same(cloud: Daemon) -> None:
    node = cloud.create("twice")
    first = [cloud.ask("DELETE", f"/v1/nodes/{node['id']}")[0] for _ in range(3)]
    until(lambda: cloud.state_of(node["id"]) == "terminated", "the node to end")
    assert [*first, cloud.ask("DELETE", f"/v1/nodes/{node['id']}")[0]] == [202] * 4
    assert cloud.state_of(node["id"]) == "terminated"


def test_a_node_that_is_destroyed_while_it_is_built_leaves_nothing(mortal: Daemon) -> None:
    made = [mortal.create(f"short{number}") for number in range(4)]
    mortal.destroy(*made)
    until(lambda: not mortal.leftovers(), "nothing to be left")
    assert {mortal.state_of(node["id"]) for node in made} == {"terminated"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nodes/n-000000000000"),
        ("DELETE", "/v1/nodes/n-000000000000"),
        ("PUT", "/v1/nodes/n-000000000000/tags"),
        ("DELETE", "/v1/nodes/n-000000000000/volumes/home"),
        ("DELETE", "/v1/volumes/nobodys"),
        ("DELETE", "/v1/volumes/.."),
        ("GET", "/v1/nothing"),
        ("GET", "/"),
    ],
)
def test_what_does_not_exist_is_not_found(cloud: Daemon, method: str, path: str) -> None:
    status, problem = cloud.ask(method, path, {})
    assert status == 404
    assert path.split("/")[3:4] == [] or path.split("/")[3] in problem["error"]["message"]


def test_tags_are_replaced_as_a_whole(cloud: Daemon, other: Machine) -> None:
    status, node = cloud.ask("PUT", f"/v1/nodes/{other.id}/tags", {"owner": "a", "état": "prêt"})
    assert (status, node["tags"]) == (200, {"owner": "a", "état": "prêt"})
    cloud.ask("PUT", f"/v1/nodes/{other.id}/tags", {"one": "1"})
    assert cloud.nodes()[other.id]["tags"] == {"one": "1"}
    status, problem = cloud.ask("PUT", f"/v1/nodes/{other.id}/tags", {"one": 2})
    assert (status, problem["error"]["code"]) == (400, "bad-tags")
    assert cloud.nodes()[other.id]["tags"] == {"one": "1"}


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"size": "huge"}, "no-size", "'huge'; there are small"),
        ({"size": ["small"]}, "no-size", "there are small"),
        ({"image": None}, "no-image", "there are host"),
        ({"location": "mars"}, "no-location", "there are ral, dl"),
        ({"name": "a b"}, "bad-name", "'a b'"),
        ({"name": "../../etc"}, "bad-name", "at most 63"),
        ({"name": "x" * 64}, "bad-name", "at most 63"),
        ({"name": "a\n"}, "bad-name", "letters"),
        ({"name": 7}, "bad-name", "7"),
        ({"ssh_ca": ""}, "bad-key", "OpenSSH public key"),
        ({"ssh_ca": "ssh-ed25519 AAAA\nrm -rf /"}, "bad-key", "a line each"),
        ({"tags": None}, "bad-tags", "texts by name"),
        ({"tags": {"a": ["b"]}}, "bad-tags", "texts by name"),
        ({"tags": {"a": "b" * 256}}, "bad-tags", "255"),
        ({"request_id": ["x"]}, "bad-request-id", "a text"),
        ({"request_id": ""}, "bad-request-id", "a text"),
        ({"dial": "10.0.0.1:2200"}, "bad-dial", "an IPv4 address and port"),
        ({"dial": {"to": "10.0.0.256:2200", "files": {}}}, "bad-dial", "an IPv4 address and port"),
        ({"dial": {"to": "10.0.0.1:0", "files": {}}}, "bad-dial", "an IPv4 address and port"),
        ({"dial": {"to": "10.0.0.1:22", "files": {"/etc/beamdesk/tunnel/../../shadow": ""}}}, "bad-dial", "lie in"),
        ({"dial": {"to": "10.0.0.1:22", "files": {"/etc/beamdesk/tunnel/key": 1}}}, "bad-dial", "texts"),
    ],
)
def test_a_wish_that_is_wrong_says_why_and_makes_nothing(
    cloud: Daemon, changes: dict[str, object], code: str, said: str
) -> None:
    before = cloud.nodes().keys()
    status, problem = cloud.ask("POST", "/v1/nodes", cloud.wish(**{"name": "wrong", **changes}))  # type: ignore[arg-type]
    assert (status, problem["error"]["code"]) == (400, code)
    assert said in problem["error"]["message"]
    assert cloud.nodes().keys() == before


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "bad-json"),
        (b"[]", {}, 400, "bad-json"),
        (b"\xff\xfe", {}, 400, "bad-json"),
        (b"[" * 60000, {}, 400, "bad-json"),
        (b"x" * 70000, {}, 413, "too-large"),
        (b"", {"Content_Length": "many"}, 411, "no-length"),
        (b"", {"Content_Length": "-1"}, 411, "no-length"),
        (b"", {"Transfer_Encoding": "chunked"}, 411, "no-length"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(
    cloud: Daemon, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer, problem = cloud.request("POST", "/v1/nodes", body, **headers)
    assert (answer, problem["error"]["code"]) == (status, code)


def test_a_call_that_does_not_fit_its_path_is_refused(cloud: Daemon) -> None:
    status, problem = cloud.ask("PUT", "/v1/nodes", {})
    assert (status, problem["error"]["code"]) == (405, "no-such-call")


def test_the_same_request_is_the_same_node_however_often_and_fast_it_comes(cloud: Daemon) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: cloud.create("once", request_id="request-1"), range(6)))
    assert len({node["id"] for node in made}) == 1
    assert [node["name"] for node in cloud.nodes().values()].count("once") == 1
    cloud.destroy(made[0])


def test_nodes_that_are_made_at_once_have_addresses_of_their_own(mortal: Daemon) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = mortal.running(*threads.map(lambda number: mortal.create(f"m{number}"), range(4)))
    assert len({node["address"] for node in made}) == 4
    for node in made:
        assert Machine(mortal, node).says("hostname; hostname -I").split() == [node["name"], node["address"]]


def test_a_full_cloud_says_so_and_has_room_again_when_a_node_is_gone(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud(max_nodes=2).start()
    first, second = cloud.create("m1"), cloud.create("m2")
    status, problem = cloud.ask("POST", "/v1/nodes", cloud.wish("m3"))
    assert (status, problem["error"]) == (507, {"code": "full", "message": "this cloud holds at most 2 nodes"})
    assert cloud.nodes().keys() == {first["id"], second["id"]}
    cloud.destroy(first)
    assert cloud.running(cloud.create("m3"))[0]["address"] == first["address"]


def test_a_subnet_without_a_free_address_says_so(own_cloud: MakeDaemon) -> None:
    cloud = own_cloud("10.231.50.160/29").start()
    made = [cloud.create(f"m{number}") for number in range(5)]
    assert len({node["address"] for node in made}) == 5
    status, problem = cloud.ask("POST", "/v1/nodes", cloud.wish("m6"))
    assert (status, problem["error"]["code"]) == (507, "full")
    assert "no address of 10.231.50.160/29 is free" in problem["error"]["message"]


def test_what_is_on_a_volume_outlives_its_machines(cloud: Daemon, machine: Machine) -> None:
    home = {"name": "home-of-ada", "owner": 20003}
    assert cloud.ask("POST", "/v1/volumes", home) == (201, home)
    assert cloud.ask("POST", "/v1/volumes", home) == (201, home)
    for word in ("first", "second"):
        guest = cloud.machine(word)
        wish = {"volume": "home-of-ada", "path": "/home/ada"}
        assert [cloud.ask("POST", f"/v1/nodes/{guest.id}/volumes", wish)[0] for _ in range(2)] == [200, 200]
        guest.says(f"echo {word} >> /home/ada/words")
        words = guest.says("cat /home/ada/words; stat -c %u /home/ada").split()
        cloud.destroy(guest.node)
    assert words == ["first", "second", "20003"]
    assert home in cloud.ask("GET", "/v1/volumes")[1]
    assert cloud.ask("DELETE", "/v1/volumes/home-of-ada")[0] == 204
    assert home not in cloud.ask("GET", "/v1/volumes")[1]
    assert machine.says("ls /home") == ""


def test_a_volume_is_taken_away_and_cannot_be_deleted_while_it_is_attached(cloud: Daemon, other: Machine) -> None:
    cloud.ask("POST", "/v1/volumes", {"name": "v", "owner": 20004})
    place = f"/v1/nodes/{other.id}/volumes"
    cloud.ask("POST", place, {"volume": "v", "path": "/home/v"})
    other.says("touch /home/v/file")
    status, problem = cloud.ask("DELETE", "/v1/volumes/v")
    assert (status, problem["error"]["code"]) == (409, "attached")
    assert [cloud.ask("DELETE", f"{place}/v")[0] for _ in range(2)] == [204, 204]
    assert other.says("ls -A /home/v") == ""
    assert cloud.ask("DELETE", "/v1/volumes/v")[0] == 204


def test_one_home_is_never_shown_as_another(cloud: Daemon, other: Machine) -> None:
    for name, owner in (("v1", 20005), ("v2", 20006)):
        cloud.ask("POST", "/v1/volumes", {"name": name, "owner": owner})
    place = f"/v1/nodes/{other.id}/volumes"
    assert cloud.ask("POST", place, {"volume": "v1", "path": "/home/a"})[0] == 200
    for wish in ({"volume": "v2", "path": "/home/a"}, {"volume": "v1", "path": "/home/b"}):
        status, problem = cloud.ask("POST", place, wish)
        assert (status, problem["error"]["code"]) == (409, "attached")
        assert "volume v1 is attached at /home/a" in problem["error"]["message"]
    assert cloud.ask("DELETE", "/v1/volumes/v2")[0] == 204
    assert other.says("stat -c %u /home/a") == "20005"


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"name": "v", "owner": 0}, 400, "bad-volume"),
        ({"name": "v", "owner": 999}, 400, "bad-volume"),
        ({"name": "v", "owner": 2**32}, 400, "bad-volume"),
        ({"name": "v", "owner": "1000"}, 400, "bad-volume"),
        ({"name": "../v", "owner": 1000}, 400, "bad-volume"),
        ({"owner": 1000}, 400, "bad-volume"),
        ({"name": "taken", "owner": 1001}, 409, "another-owner"),
    ],
)
def test_a_volume_that_cannot_be_made_is_not(cloud: Daemon, wish: dict[str, object], status: int, code: str) -> None:
    cloud.ask("POST", "/v1/volumes", {"name": "taken", "owner": 1000})
    before = cloud.ask("GET", "/v1/volumes")
    answer, problem = cloud.ask("POST", "/v1/volumes", wish)
    assert (answer, problem["error"]["code"]) == (status, code)
    assert cloud.ask("GET", "/v1/volumes") == before


@pytest.mark.parametrize("path", ["/etc", "/home", "/home/a/b", "/home/..", "/home/.", "home/a", "", None, ["/home/a"]])
def test_a_volume_is_attached_below_home_only(cloud: Daemon, machine: Machine, path: object) -> None:
    cloud.ask("POST", "/v1/volumes", {"name": "strays", "owner": 20007})
    wish = {"volume": "strays", "path": path}
    status, problem = cloud.ask("POST", f"/v1/nodes/{machine.id}/volumes", wish)
    assert (status, problem["error"]["code"]) == (400, "bad-path")
    assert repr(path) in problem["error"]["message"]
    assert cloud.ask("DELETE", "/v1/volumes/strays")[0] == 204
