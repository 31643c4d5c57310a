"""`beamdesk image`: what an operator is shown of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker import runtime as runtimes
from broker.cli import main
from broker.errors import WrongState
from broker.pools import images
from broker.pools.images import ImageState
from broker.runtime import Runtime


@pytest.fixture
def listed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """One image that is today's, and one that is behind its roles and was rejected."""
    monkeypatch.setattr(runtimes, "current", lambda: runtime)
    today = images.made_of_today(runtime.settings, "light", "ral", "small", "light-ral")
    with runtime.database.transaction() as db:
        images.add(db, "light", "ral", 1, "i-1", today)
        late = images.add(db, "science", "ral", 1, "i-2", "0" * 64)
        images.move(db, late, ImageState.CANARY, reason="to be tried")
    with runtime.database.transaction() as db:
        late = images.get(db, 2)
        images.move(db, late, ImageState.REJECTED, reason="it failed", failure="A blank screen.")
    return runtime


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, ["image", *words])


def test_the_list_says_how_far_each_has_come_and_which_is_behind_its_roles(listed: Runtime) -> None:
    first, second = ask("list").output.splitlines()
    assert first.split()[:6] == ["1", "light", "in", "ral", "revision", "1"]
    assert "baked" in first
    assert "behind" not in first
    assert "rejected" in second
    assert second.endswith("behind its roles; A blank screen.")


def test_an_empty_list_says_how_to_bake_one(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "current", lambda: runtime)
    assert ask("list").output == "There are no images: `beamdesk image build ENVIRONMENT CLOUD` bakes one.\n"


def test_of_two_who_bake_the_same_revision_one_is_told(listed: Runtime) -> None:
    """And not by an error of the database."""
    said = "Somebody else has baked revision 1 of light"
    with pytest.raises(WrongState, match=said), listed.database.transaction() as db:
        images.add(db, "light", "ral", 1, "i-9", "0" * 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["build", "lihgt", "ral"],
            "The settings have no environment lihgt.\nThey have these: light, science, secret.",
        ),
        (["build", "light", "moon"], "The settings have no cloud moon.\nThey have these: ral, dl."),
        (["remove", "9"], "There is no image 9."),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(listed: Runtime, words: list[str], said: str) -> None:
    result = ask(*words)
    assert result.exit_code == 1
    assert said in result.output


def test_a_cloud_that_does_not_answer_is_wrong_in_the_first_step_and_no_image_is_recorded(
    listed: Runtime, tmp_path: Path
) -> None:
    cloud = listed.settings.clouds["ral"].model_copy(update={"options": {"socket": str(tmp_path / "nobody.sock")}})
    listed.settings.clouds["ral"] = cloud
    result = ask("build", "light", "ral")
    assert result.exit_code == 1
    assert result.output.startswith("WRONG  build    Harwell did not answer while building")
    assert "roles" not in result.output
    with listed.database.reading() as db:
        assert len(images.listed(db)) == 2
