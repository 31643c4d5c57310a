"""Pools, machines, clouds and workers as administrators see them; each list is a few queries however long it is."""

from __future__ import annotations

from broker.pools.overview.cloud_cards import CloudCard, clouds
from broker.pools.overview.machine_cards import MachineCard, machine_card, machines
from broker.pools.overview.past import History, history, recent_events
from broker.pools.overview.pool_cards import PoolCard, pools
from broker.pools.overview.workers import QueueCard, WorkerCard, Workforce, workforce

__all__ = [
    "CloudCard",
    "History",
    "MachineCard",
    "PoolCard",
    "QueueCard",
    "WorkerCard",
    "Workforce",
    "clouds",
    "history",
    "machine_card",
    "machines",
    "pools",
    "recent_events",
    "workforce",
]
