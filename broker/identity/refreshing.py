"""While a sign-in lives its provider is asked again what it says of the person; one that the provider refuses ends.

The manager queues a pass for each provider that has some due; a worker makes it. A refresh token may be used once only
(providers rotate them, and take a second use for a theft): so a sign-in is taken by moving its `refresh_at` on, and of
two workers one gets it. A provider that does not answer is asked again later, and ends nothing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy import select, update

from broker import events, jobs, metrics
from broker.database import now
from broker.errors import ProviderFault, ProviderUnreachable, SignInRefused
from broker.identity import sealing
from broker.identity.arrivals import TOKENS, keep_tokens, update_groups
from broker.identity.claims import profile
from broker.identity.models import Identity, SignIn, User
from broker.identity.openid import Told, renew
from broker.identity.providers import provider
from broker.identity.sign_ins import end, living
from broker.runtime import Runtime, current

log = structlog.get_logger()

AT_ONCE = 4
OF_ONE_PASS = 200
AGAIN = timedelta(minutes=2)  # after a provider did not answer, or a worker died half-way


def enqueue_due(runtime: Runtime) -> None:
    """Queue a pass for each provider of which a sign-in is due; one that waits already is not queued twice."""
    with runtime.database.reading() as db:
        due = select(Identity.provider).join(SignIn, SignIn.identity_id == Identity.id)
        names = db.scalars(due.where(SignIn.refresh_at < now(), *living()).distinct()).all()
    for name in names:
        with metrics.redis_may_be_away():
            jobs.enqueue(runtime.redis, "sign-ins", f"refresh-{name}", refresh_of_provider, name, timeout=600)


def refresh_of_provider(name: str) -> None:
    """RQ's entry: refresh what is due of this provider. Safe to run twice."""
    runtime = current()
    due = _due(runtime, name)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="refresh") as threads:
        list(threads.map(partial(_try, runtime), due))


def _due(runtime: Runtime, name: str) -> list[int]:
    with runtime.database.reading() as db:
        found = select(SignIn.id).join(Identity, Identity.id == SignIn.identity_id)
        found = found.where(Identity.provider == name, SignIn.refresh_at < now(), *living())
        return list(db.scalars(found.order_by(SignIn.refresh_at).limit(OF_ONE_PASS)))


def _try(runtime: Runtime, sign_in_id: int) -> None:
    with metrics.swallowed("refresh"):
        refresh(runtime, sign_in_id)


def refresh(runtime: Runtime, sign_in_id: int) -> bool:
    """Ask the provider anew about one sign-in; False where it is not due, or another worker has it."""
    if not _take(runtime, sign_in_id):
        return False
    with runtime.database.reading() as db:
        entry = db.get_one(SignIn, sign_in_id)
        identity = db.get_one(Identity, entry.identity_id)
    tokens = sealing.unseal(runtime.settings.secrets_dir, TOKENS, entry.sealed_tokens or "") or {}
    try:
        if identity.provider not in runtime.settings.identity.providers or not tokens.get("refresh"):
            raise SignInRefused("It can no longer be refreshed.")
        asked = provider(runtime.settings, identity.provider)
        told = renew(asked, tokens["refresh"], identity.subject)
        seen = profile(told.claims, asked.settings)
        if not seen.may_enter:
            raise SignInRefused("The person is in none of the groups that may use this service.")
    except SignInRefused as error:
        _end(runtime, sign_in_id, error.message)
    except ProviderUnreachable as error:
        log.info("refresh.later", sign_in=sign_in_id, why=error.message)
    except ProviderFault as error:
        log.warning("refresh.failed", sign_in=sign_in_id, why=error.message)
    else:
        _keep(runtime, sign_in_id, told, tokens.get("id", ""))
    return True


def _take(runtime: Runtime, sign_in_id: int) -> bool:
    with runtime.database.transaction() as db:
        mine = update(SignIn).where(SignIn.id == sign_in_id, SignIn.refresh_at < now(), *living())
        taken = db.execute(mine.values(refresh_at=now() + AGAIN).execution_options(synchronize_session=False))
        return bool(taken.rowcount == 1)  # type: ignore[attr-defined]


def _keep(runtime: Runtime, sign_in_id: int, told: Told, id_token: str) -> None:
    """Write what was told; a sign-in that ended meanwhile stays ended."""
    settings = runtime.settings.identity.providers[told.provider]
    with runtime.database.transaction() as db:
        entry = db.get_one(SignIn, sign_in_id)
        identity = db.get_one(Identity, entry.identity_id)
        user = db.get_one(User, entry.user_id)
        update_groups(db, identity, user, profile(told.claims, settings))
        if entry.revoked_at is None:
            keep_tokens(runtime, settings, entry, told if told.id_token else _with_id_token(told, id_token))
        events.changed(db, "account", user.name, user.id)


def _with_id_token(told: Told, id_token: str) -> Told:
    return Told(**{**vars(told), "id_token": id_token})


def _end(runtime: Runtime, sign_in_id: int, why: str) -> None:
    with runtime.database.transaction() as db:
        user = db.get_one(User, db.get_one(SignIn, sign_in_id).user_id)
        end(db, [sign_in_id], "account:refresh-refused", user.name)
    log.info("refresh.refused", sign_in=sign_in_id, why=why)
