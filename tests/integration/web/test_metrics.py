"""Figures for Prometheus: true, well-formed, and not for everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from broker.runtime import Runtime
from broker.sessions.models import LaunchMark
from broker.sessions.timings import BUCKETS
from tests.integration.web.conftest import NewMachines


def figures(browser: FlaskClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples, by name and labels."""
    answer = browser.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_pools_sessions_and_errors_are_counted(
    admin: FlaskClient, ready_session: int, new_machines: NewMachines
) -> None:
    """Straight from the database, so that every web process says the same."""
    new_machines("light-ral", 3)
    found = figures(admin)
    assert found["beamdesk_machines", labels(pool="light-ral", state="vacant")] == 3
    assert found["beamdesk_machines", labels(pool="light-ral", state="acquired")] == 1
    assert found["beamdesk_machines", labels(pool="science-ral", state="vacant")] == 0
    assert found["beamdesk_pool_target", labels(pool="light-ral")] == 2
    assert found["beamdesk_sessions", labels(environment="light", state="ready")] == 1
    assert found["beamdesk_sessions", labels(environment="science", state="queued")] == 0


def test_the_launch_histogram_is_cumulative_and_only_grows(
    admin: FlaskClient, ready_session: int, runtime: Runtime
) -> None:
    """As Prometheus wants it; each stage of each environment has its own."""

    def buckets() -> list[float]:
        found = figures(admin)
        edges = [*(str(float(upto)) for upto in BUCKETS), "+Inf"]
        return [
            found["beamdesk_launch_seconds_bucket", labels(environment="light", stage="first_frame", le=edge)]
            for edge in edges
        ]

    def launched_in(seconds: float) -> None:
        with runtime.database.transaction() as db:
            db.add(LaunchMark(session_id=ready_session, stage=f"x{seconds}", environment="light", seconds=seconds))
            db.flush()
            db.query(LaunchMark).filter_by(stage=f"x{seconds}").update({"stage": "first_frame"})

    launched_in(0.25)
    first = buckets()
    assert first == sorted(first)
    assert first == [0, 0, *[1] * 13]
    found = figures(admin)
    assert found["beamdesk_launch_seconds_sum", labels(environment="light", stage="first_frame")] == pytest.approx(0.25)
    assert found["beamdesk_launch_seconds_count", labels(environment="light", stage="ready")] == 1


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.7"}, {"Forwarded": "for=203.0.113.7"}])
def test_figures_are_for_this_host_and_for_administrators(
    alice: FlaskClient, admin: FlaskClient, app: Callable[..., None], headers: dict[str, str]
) -> None:
    """A proxy on this host hands on requests of the whole world: those need an administrator."""
    nobody = alice.application.test_client()
    assert nobody.get("/metrics").status_code == 200, "Prometheus on this very host"
    assert nobody.get("/metrics", headers=headers).status_code == 401
    assert nobody.get("/metrics", environ_base={"REMOTE_ADDR": "203.0.113.7"}).status_code == 401
    assert alice.get("/metrics", headers=headers).status_code == 403
    assert admin.get("/metrics", headers=headers).status_code == 200
