"""The clouds' figures for Prometheus, from the database."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from broker.pools import overview
from broker.pools.breaker import Breaker
from broker.pools.models import PoolMode
from broker.settings import Settings


def clouds(db: Session, settings: Settings) -> Iterator[Metric]:
    """How each cloud stands, and what its quota leaves where it says so."""
    faults = GaugeMetricFamily("beamdesk_cloud_faults", "Faults in a row of a cloud.", labels=["cloud"])
    breakers = GaugeMetricFamily(
        "beamdesk_cloud_breaker", "1 for the state that a cloud's circuit breaker is in.", labels=["cloud", "state"]
    )
    draining = GaugeMetricFamily("beamdesk_cloud_draining", "1 while a cloud is drained.", labels=["cloud"])
    cost = GaugeMetricFamily("beamdesk_cloud_cost_hourly", "What a cloud's machines cost an hour.", labels=["cloud"])
    room = GaugeMetricFamily("beamdesk_cloud_room", "What a cloud's quota leaves.", labels=["cloud", "of"])
    for cloud in overview.clouds(db, settings):
        faults.add_metric([cloud.name], cloud.faults)
        cost.add_metric([cloud.name], cloud.cost_hourly)
        draining.add_metric([cloud.name], cloud.mode == PoolMode.DRAINING)
        for state in Breaker:
            breakers.add_metric([cloud.name, state.value], cloud.breaker == state)
        left = {"nodes": cloud.room_nodes, "cores": cloud.room_cores, "memory_gb": cloud.room_memory_gb}
        for of, number in left.items():
            if number is not None:
                room.add_metric([cloud.name, of], number)
    yield from (faults, breakers, draining, cost, room)
