"""What only an OpenStack has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from libcloud.common.openstack_identity import OpenStackIdentity_3_0_Connection

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from broker.clouds.openstack import OpenStackCloud
from broker.errors import CloudFull, CloudRefused, CloudUnreachable
from tests.conformance.clouds.conftest import Credential
from tests.conformance.clouds.subjects import Subject
from tests.peers.openstack.seed import sign_in
from tests.peers.proxy import lose, proxy
from tests.waiting import until

pytestmark = pytest.mark.parametrize("subject", ["openstack"], indirect=True)


def test_an_application_credential_signs_in_without_anybodys_password(
    subject: Subject, new_credential: Callable[[], Credential]
) -> None:
    settings = subject.settings.model_copy(update={"name": "credential", "options": new_credential().options})
    opened = open_cloud(settings)
    node = opened.build(subject.spec("g1", "by-credential"))
    assert [each.id for each in opened.list_ours("by-credential")] == [node.id]
    opened.destroy(node.id)
    until(lambda: opened.find(node.id) is None, "the node to go", 60)


def test_a_user_and_a_project_of_a_domain_of_their_own_sign_in(subject: Subject) -> None:
    options = dict(subject.settings.options)
    keystone = options["auth_url"]
    with httpx2.Client(timeout=60) as client:
        sign_in(client, keystone)

        def made(kind: str, **wish: str) -> str:
            answer = client.post(f"{keystone}/v3/{kind}s", json={kind: wish}).raise_for_status().json()
            return str(answer[kind]["id"])

        domain = made("domain", name="science")
        project = made("project", name="laser", domain_id=domain)
        user = made("user", name="ada", domain_id=domain, password="engine")
        [role] = client.get(f"{keystone}/v3/roles", params={"name": "member"}).raise_for_status().json()["roles"]
        client.put(f"{keystone}/v3/projects/{project}/users/{user}/roles/{role['id']}").raise_for_status()
    theirs = {"username": "ada", "password": "engine", "project": "laser", "domain": "science"}
    options |= {**theirs, "project_domain_id": domain}
    opened = open_cloud(subject.settings.model_copy(update={"name": "science", "options": options}))
    assert opened.list_ours("conformance") == []


def test_one_sign_in_is_enough_for_all_services(
    subject: Subject, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job of a worker is a process of its own, and signs in anew."""
    asked: list[str] = []
    wanted = OpenStackIdentity_3_0_Connection._get_auth_data

    def counted(connection: Any) -> Any:
        asked.append(connection.auth_url)
        return wanted(connection)

    monkeypatch.setattr(OpenStackIdentity_3_0_Connection, "_get_auth_data", counted)
    opened = OpenStackCloud(subject.settings)
    opened.build(subject.spec("j1"))
    opened.list_ours("conformance")
    assert len(asked) == 1


def test_a_sign_in_whose_answer_is_lost_is_done_again(subject: Subject) -> None:
    """At any of its requests: each service fetches the catalogue for itself."""
    keystone = subject.settings.options["auth_url"]
    with proxy(keystone.removesuffix("/v3")) as before:
        options = {**subject.settings.options, "auth_url": before.url}
        opened = OpenStackCloud(subject.settings.model_copy(update={"options": options}))
        for method in ("POST", "GET"):
            before.when(method, "auth/tokens", lose(), times=1)
            with pytest.raises(CloudUnreachable):
                opened.build(subject.spec("l1"))
        node = opened.build(subject.spec("l1"))
    opened.destroy(node.id)


def test_an_openstack_machine_is_put_where_the_settings_say(
    subject: Subject, cloud: Cloud, running: Callable[[CloudNode], CloudNode]
) -> None:
    assert isinstance(cloud, OpenStackCloud)
    wish = {"security_group": {"name": "desktops"}}
    cloud.driver.network_connection.request("/v2.0/security-groups", method="POST", data=wish)
    options = {**subject.settings.options, "security_groups": "desktops, ", "availability_zone": "nova"}
    opened = open_cloud(subject.settings.model_copy(update={"options": options}))
    node = running(opened.build(subject.spec("k1")))
    machine = cloud.driver.connection.request(f"/servers/{node.id}").object["server"]
    assert [group["name"] for group in machine["security_groups"]] == ["desktops"]
    assert machine["OS-EXT-AZ:availability_zone"] == "nova"


@pytest.fixture
def flavour(subject: Subject) -> Iterator[Callable[..., str]]:
    """Makes flavours for one test: flavour(vcpus=1, disk=1) is the new one's name."""
    opened = open_cloud(subject.settings)
    assert isinstance(opened, OpenStackCloud)
    nova, made = opened.driver.connection, []

    def make(**has: int) -> str:
        wish = {"flavor": {"name": "made-here", "vcpus": 1, "ram": 512, "disk": 1, **has}}
        made.append(nova.request("/flavors", method="POST", data=wish).object["flavor"])
        return str(made[-1]["name"])

    yield make
    for each in made:
        nova.request(f"/flavors/{each['id']}", method="DELETE")


def test_what_is_beyond_the_quota_finds_the_cloud_full(
    subject: Subject, cloud: Cloud, flavour: Callable[..., str]
) -> None:
    with pytest.raises(CloudFull, match="Quota exceeded for cores"):
        cloud.build(subject.spec("h1", size_id=flavour(vcpus=100_000)))
    assert cloud.list_ours("conformance") == []


def test_what_no_host_can_hold_fails_with_novas_reason(
    subject: Subject, cloud: Cloud, flavour: Callable[..., str]
) -> None:
    name = flavour(disk=100_000_000)
    with suppress(CloudRefused):  # Nova knows another flavour of this name no more, which was looked up before
        cloud.build(subject.spec("h2", size_id=name))
    node = cloud.build(subject.spec("h2", size_id=name))

    def says_why() -> bool:
        found = cloud.find(node.id)
        assert found is not None
        return found.state == "failed" and "No valid host was found" in (found.error or "")

    until(says_why, "Nova's reason", 60)


def test_a_floating_address_is_given_to_a_machine_and_given_back_when_it_goes(subject: Subject) -> None:
    options = {**subject.settings.options, "floating_network": "public"}
    opened = open_cloud(subject.settings.model_copy(update={"name": "floating", "options": options}))
    assert isinstance(opened, OpenStackCloud)
    neutron = opened.driver.network_connection
    node = opened.build(subject.spec("i1", "with-address"))
    assert node.address is None
    address = until(lambda: opened.list_ours("with-address")[0].address, "a floating address", 60)
    assert address.startswith("203.0.113.")
    found = opened.find(node.id)
    assert found
    assert (found.state, found.address) == ("running", address)
    [listed] = opened.list_ours("with-address")
    assert listed.address == address
    assert len(neutron.request("/v2.0/floatingips").object["floatingips"]) == 1
    opened.destroy(node.id)
    until(lambda: opened.find(node.id) is None, "the node to go", 60)
    assert opened.list_ours("with-address") == []
    assert neutron.request("/v2.0/floatingips").object["floatingips"] == []


def test_an_image_is_there_when_its_upload_is_done_and_not_before(
    subject: Subject, cloud: Cloud, running: Callable[[CloudNode], CloudNode]
) -> None:
    """Nova and Glance are real; the upload, which is a hypervisor's, is done by the test."""
    node = running(cloud.build(subject.spec("i1")))
    assert isinstance(cloud, OpenStackCloud)
    glance = cloud.driver.image_connection

    def begun() -> str | None:
        found = glance.request("/v2/images", params={"name": "by-nova"}).object["images"]
        return next((str(image["id"]) for image in found), None)

    with ThreadPoolExecutor(1) as threads:
        # A thread has a cloud of its own, as everywhere.
        saved = threads.submit(lambda: open_cloud(subject.settings).save_image(node.id, "by-nova", {"a": "b"}))
        id_ = until(begun, "Nova to begin the image", 60)
        assert not saved.done()
        place = f"http://{glance.host}:{glance.port}{glance.request_path}/v2/images/{id_}"
        with httpx2.Client(headers={"X-Auth-Token": glance.auth_token}) as client:
            kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
            formats = (("disk_format", "raw"), ("container_format", "bare"))
            told = [{"op": "add", "path": f"/{name}", "value": value} for name, value in formats]
            client.patch(place, json=told, headers=kind).raise_for_status()
            kind = {"Content-Type": "application/octet-stream"}
            client.put(f"{place}/file", content=b"a disk", headers=kind).raise_for_status()
        assert saved.result(60).id == id_
    assert id_ in {image.id for image in cloud.images()}
    cloud.delete_image(id_)
    cloud.delete_image(id_)
    assert id_ not in {image.id for image in cloud.images()}
