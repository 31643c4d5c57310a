"""Which saved images there are."""

from __future__ import annotations

import json
from pathlib import Path

from agents.localcloud.images import Images


def test_an_image_that_is_being_removed_is_there_no_more(tmp_path: Path) -> None:
    """Its folder takes a while to go; until then nobody may build from it, or remove it a second time."""
    images = Images(tmp_path / "images")
    for id_ in ("i-1", "i-2"):
        images.path(id_).mkdir()
        (images.path(id_) / "image.json").write_text(json.dumps({"id": id_}))
    gone = images.drop("i-1")
    assert gone.is_dir()
    assert list(images.all()) == ["i-2"]


def test_what_a_daemon_that_was_killed_left_half_done_goes(tmp_path: Path) -> None:
    (tmp_path / ".i-3").mkdir()
    Images(tmp_path)
    assert list(tmp_path.iterdir()) == []
