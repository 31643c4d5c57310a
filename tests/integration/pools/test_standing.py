"""What is held against clouds and pools in SQL."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from broker.database import now
from broker.pools import access, standing
from broker.pools.models import Machine, MachineState
from broker.runtime import Runtime


def test_what_the_settings_change_does_not_wait_for_its_next_try(runtime: Runtime) -> None:
    """An operator who mended an entry sees at once whether it works; what was not touched waits on."""
    later = now() + timedelta(minutes=10)
    with runtime.database.transaction() as db:
        for pool in ("light-ral", "light-dl", "science-ral"):
            access.row(db, pool).retry_at = later
        for cloud in ("ral", "dl"):
            standing.row(db, cloud).retry_at = later
            waits = {"state": MachineState.REQUESTED, "tries": 9, "due_at": later, "attempt": 0}
            db.add(Machine(pool=f"light-{cloud}", environment="light", size="small", cloud=cloud, **waits))
    before = runtime.settings
    mended = before.clouds["dl"].model_copy(update={"image": "another"})
    pool = before.pools["light-ral"].model_copy(update={"target": 3})
    runtime.settings = before.model_copy(
        update={"clouds": {**before.clouds, "dl": mended}, "pools": {**before.pools, "light-ral": pool}}
    )
    standing.ask_again(runtime, before)
    with runtime.database.transaction() as db:
        assert [access.row(db, name).retry_at for name in ("light-ral", "light-dl")] == [None, None]
        assert standing.row(db, "dl").retry_at is None
        assert access.row(db, "science-ral").retry_at == later
        assert standing.row(db, "ral").retry_at == later
        machines = {machine.cloud: machine.due_at for machine in db.scalars(select(Machine))}
        assert machines == {"dl": None, "ral": later}
