"""The certified OpenID provider from npm (oidc-provider), as a process of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.waiting import until

HERE = Path(__file__).parent
SECRET = "of-the-tests-client-and-of-nobody-else"


class Certified:
    """One provider; `people` are its users' claims by the name that they sign in with."""

    def __init__(self, folder: Path, app: str, kind: str) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._users, self._log = folder / f"{kind}.json", folder / f"{kind}.log"
        self._app, self._kind = app, kind
        self._process: subprocess.Popen[bytes] | None = None
        self.people: dict[str, dict[str, Any]] = {}

    def says(self, person: str, /, **claims: Any) -> None:
        """From now on, this of that person."""
        self.people[person] = {**self.people.get(person, {}), **claims}
        fresh = self._users.with_suffix(".new")
        fresh.write_text(json.dumps(self.people))
        os.replace(fresh, self._users)

    def forgets(self, name: str) -> None:
        """The person has left."""
        del self.people[name]
        self._users.write_text(json.dumps(self.people))

    def start(self) -> None:
        """Start it, with keys that it never had before."""
        self._users.write_text(json.dumps(self.people))
        command = [shutil.which("node") or "node", "provider.mjs", str(self.port), str(self._users), SECRET]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, self._app, self._kind], cwd=HERE, stdout=log, stderr=log)
        until(self._is_ready, f"the provider ({self._log})", 30)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        return self._log.read_text().count("ready") > 0

    def stop(self) -> None:
        """Stop it; its users, sign-ins and keys are forgotten."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            self._log.write_text("")


@contextmanager
def certified(folder: Path, app: str, kind: str) -> Iterator[Certified]:
    """A provider that runs while the block does. Missing packages fail the test: `make peers` installs them."""
    assert (HERE / "node_modules/oidc-provider").is_dir(), "the provider is not installed: run `make peers`"
    found = Certified(folder, app, kind)
    found.start()
    try:
        yield found
    finally:
        found.stop()
