"""The one place that reads beamdesk.toml and BEAMDESK_* from the environment.

`load(config)` returns a frozen Settings or raises BadSettings, whose message names each wrong key, its value and
what is allowed. BEAMDESK_CONFIG names the file (beamdesk.toml in the working directory otherwise); any single
value can be given by the environment, as BEAMDESK_LIMITS__SESSIONS_PER_USER=5.
"""

from __future__ import annotations

from broker.settings.entries import (
    AccountSettings,
    Architecture,
    CloudDriver,
    CloudSettings,
    EnvironmentSettings,
    PoolSettings,
    QuotaSettings,
    SharedBaseSettings,
    SizeSettings,
)
from broker.settings.identity import IdentitySettings, ProviderSettings
from broker.settings.policies import Policy, PolicySettings
from broker.settings.reading import load
from broker.settings.sections import (
    AllocationSettings,
    CourseSettings,
    DatabaseSettings,
    GatewaySettings,
    LeaseSettings,
    LimitSettings,
    PoolTimes,
    RdpSettings,
    RedisSettings,
    ReservationSettings,
    SshSettings,
    TunnelSettings,
    VmmSettings,
    WebSettings,
)
from broker.settings.whole import Settings, path

__all__ = [
    "AccountSettings",
    "AllocationSettings",
    "Architecture",
    "CloudDriver",
    "CloudSettings",
    "CourseSettings",
    "DatabaseSettings",
    "EnvironmentSettings",
    "GatewaySettings",
    "IdentitySettings",
    "LeaseSettings",
    "LimitSettings",
    "Policy",
    "PolicySettings",
    "PoolSettings",
    "PoolTimes",
    "ProviderSettings",
    "QuotaSettings",
    "RdpSettings",
    "RedisSettings",
    "ReservationSettings",
    "Settings",
    "SharedBaseSettings",
    "SizeSettings",
    "SshSettings",
    "TunnelSettings",
    "VmmSettings",
    "WebSettings",
    "load",
    "path",
]
