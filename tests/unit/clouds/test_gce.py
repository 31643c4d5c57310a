"""What Google's options must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.clouds.adapter import open_cloud
from broker.errors import BadSettings
from broker.settings import CloudSettings


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"client_email": "a@b"}'])
def test_a_file_that_is_no_service_accounts_key_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    options = {"key_file": str(file), "project": "p", "zone": "europe-west2-a"}
    settings = CloudSettings(name="g", title="Google", driver="gce", location="london", image="i", options=options)
    with pytest.raises(BadSettings, match=r"clouds\.g\.options\.key_file: .*key\.json is no service account's key"):
        open_cloud(settings)
