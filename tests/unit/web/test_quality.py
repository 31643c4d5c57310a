"""Which picture quality the desktop's page chooses for a link: the page's own code, run by node."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

QUALITY = Path(__file__).parents[3] / "web/static/desktop/quality.js"
PROGRAM = """
import { readFileSync } from "node:fs";
const { look, STEPS, UNKNOWN } = await import(process.argv[1]);
const story = JSON.parse(readFileSync(0));
let link = UNKNOWN;
const seen = story.flatMap(({ times, ...moment }) => Array(times).fill(moment));
const after = seen.map((moment) => (link = look(link, moment)));
console.log(JSON.stringify(after.map((one) => ({ ...one, step: STEPS[one.step].name }))));
"""
Look = dict[str, Any]
Moment = tuple[int, float, float, float]


def looks(*story: Moment) -> list[Look]:
    """What is believed and chosen after each look. Each part of the story: how many looks see it, an answer's ms, and
    the Mbit/s that came, on average and at the best moment."""
    told = [
        {"times": times, "trip": trip, "greeting": story[0][1], "rate": rate * 125_000, "peak": peak * 125_000}
        for times, trip, rate, peak in story
    ]
    line = ["node", "--input-type=module", "-e", PROGRAM, str(QUALITY)]
    done = subprocess.run(line, input=json.dumps(told), capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    answer: list[Look] = json.loads(done.stdout)
    return answer


QUICK, SLOW_IDLE, SLOW_FULL = (8, 20, 1, 5), (1, 200, 0, 0.1), (3, 900, 1, 1)


@pytest.mark.parametrize(
    ("story", "step"),
    [
        ([(1, 20, 1, 5)], "medium"),  # nothing is known yet
        ([QUICK], "sharp"),
        ([(8, 300, 0.1, 1)], "sharp"),  # far away, and never full
        ([(20, 500, 0.1, 50)], "medium"),  # so far away that no picture should be large
        ([SLOW_IDLE, SLOW_FULL], "light"),
        ([(1, 50, 0, 0.1), (2, 900, 1, 1)], "medium"),  # a moment's delay is no proof
        ([SLOW_IDLE, SLOW_FULL, (9, 220, 0.8, 1)], "light"),  # free again, because it is light
        ([SLOW_IDLE, SLOW_FULL, (60, 200, 0, 0.5)], "light"),  # idle is no proof that it carries more
        ([SLOW_IDLE, SLOW_FULL, (12, 200, 2, 6)], "medium"),
        ([SLOW_IDLE, SLOW_FULL, (7, 200, 2, 30)], "sharp"),
        ([QUICK, (4, 300, 50, 80)], "sharp"),  # a film over a good link fills it, and all is still seen in time
        ([QUICK, (3, 700, 50, 80)], "medium"),  # unless it is not
    ],
)
def test_a_link_gets_the_sharpest_picture_that_comes_in_time(story: list[Moment], step: str) -> None:
    """Measured round trip and bandwidth choose."""
    assert looks(*story)[-1]["step"] == step


def test_what_was_tried_in_vain_is_tried_less_and_less_often() -> None:
    """A link that seems to carry more whenever it is asked for less does not make the picture jump for ever."""
    misleading = [(20, 100, 1, 40), (4, 900, 1, 2)]
    steps = [look["step"] for look in looks((1, 100, 0, 0), (3, 900, 1, 1), *misleading * 4)]
    assert steps.count("light") > 0.5 * len(steps)
    rises = [number for number, (before, after) in enumerate(pairwise(steps)) if before == "light" != after]
    gaps = [later - earlier for earlier, later in pairwise(rises)]
    assert gaps == sorted(gaps)


def test_a_light_picture_is_asked_for_now_and_then_to_see_how_fast_it_comes() -> None:
    """Where nothing moves, nothing could show that the link is better now; and a sharp one needs no proof."""
    asked = [look["probe"] for look in looks(SLOW_IDLE, SLOW_FULL, (128, 200, 0, 0.1))]
    assert 2 <= sum(asked) <= 8
    assert not any(look["probe"] for look in looks(QUICK, (70, 20, 0, 0)))
