"""One of each cloud, for all promises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx2
import pytest

from broker.clouds.adapter import Cloud, CloudNode, open_cloud
from tests.conformance.clouds.subjects import SUBJECTS, Subject
from tests.waiting import until

DEPLOYMENTS = ("conformance", "others")


@pytest.fixture(scope="package", params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Each cloud in turn."""
    if request.param == "local" and os.getuid() != 0:
        pytest.skip("makes machines, which needs root")
    with SUBJECTS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def cloud(subject: Subject) -> Iterator[Cloud]:
    """The cloud, as the broker has it; the nodes of a test are removed after it."""
    opened = open_cloud(subject.settings)
    yield opened
    for deployment in DEPLOYMENTS:
        for node in opened.list_ours(deployment):
            opened.destroy(node.id)
        until(lambda d=deployment: all(n.state == "gone" for n in opened.list_ours(d)), "all nodes to go", 60)


@pytest.fixture
def running(cloud: Cloud) -> Callable[[CloudNode], CloudNode]:
    """Waits until a node runs."""

    def wait(node: CloudNode) -> CloudNode:
        def look() -> CloudNode | None:
            found = cloud.find(node.id)
            assert found is not None
            assert found.state in ("building", "running"), found
            return found if found.state == "running" and found.address else None

        return until(look, f"{node.name} to run", 60)

    return wait


@dataclass(frozen=True)
class Credential:
    """An application credential of an OpenStack: the options that use it, and how it is taken away."""

    options: dict[str, str]
    revoke: Callable[[], None]


@pytest.fixture
def new_credential(subject: Subject) -> Iterator[Callable[[], Credential]]:
    """Makes them, as `openstack application credential create` does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_credential(subject.settings.options))


@contextmanager
def _credential(options: dict[str, str]) -> Iterator[Credential]:
    keystone = f"{options['auth_url'].removesuffix('/v3')}/v3"
    domain = {"name": options["domain"]}
    user = {"name": options["username"], "domain": domain, "password": options["password"]}
    scope = {"project": {"name": options["project"], "domain": domain}}
    sign_in = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    with httpx2.Client(timeout=60) as client:
        answer = client.post(f"{keystone}/auth/tokens", json=sign_in).raise_for_status()
        client.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        mine = f"{keystone}/users/{answer.json()['token']['user']['id']}/application_credentials"
        wish = {"name": f"beamdesk-{os.urandom(4).hex()}"}
        made = client.post(mine, json={"application_credential": wish}).raise_for_status().json()
        made = made["application_credential"]
        secret = {"application_credential_id": made["id"], "application_credential_secret": made["secret"]}
        place = {key: options[key] for key in ("auth_url", "region", "network")}
        yield Credential({**place, **secret}, lambda: void(client.delete(f"{mine}/{made['id']}")))
        client.delete(f"{mine}/{made['id']}")  # unless it was revoked


def void(answer: httpx2.Response) -> None:
    """The answer must be good, and is not needed."""
    answer.raise_for_status()
