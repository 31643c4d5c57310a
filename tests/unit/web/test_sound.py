"""What the desktop's page does with the sound that comes: its own code, run by node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

DESKTOP = Path(__file__).parents[3] / "web/static/desktop"
PROGRAM = """
import { readFileSync } from "node:fs";
const { Playout } = await import(process.argv[1]);
const story = JSON.parse(readFileSync(0));
const playout = new Playout();
let next = 1; // frames are numbered, so that what is left out or played twice is seen; 0 is silence
const heard = [];
function come(ms) {
  const piece = Float32Array.from({ length: 48 * ms }, () => next++);
  playout.take([piece, piece]);
}
let due = 0;
function play(ms) {
  for (due += 48 * ms; due >= 128; due -= 128) {
    const out = [new Float32Array(128), new Float32Array(128)];
    playout.give(out);
    if (out[0].some((frame, n) => frame !== out[1][n])) throw new Error("the channels differ");
    heard.push(...out[0]);
  }
}
for (const [come20, play20] of story) {
  for (let n = 0; n < Math.max(come20, play20); n += 1) {
    if (n < come20) come(20);
    if (n < play20) play(20);
  }
}
const sounding = heard.filter((frame) => frame);
const jumps = sounding.slice(1).map((frame, n) => frame - sounding[n] - 1);
console.log(JSON.stringify({
  silent: (heard.length - sounding.length) / 48,
  skipped: jumps.reduce((sum, jump) => sum + jump, 0) / 48,
  backwards: jumps.some((jump) => jump < 0),
  held: playout.held / 48,
  wanted: playout.wanted / 48,
}));
"""
PACKETS = """
const { packets } = await import(process.argv[1]);
const page = (sizes, bytes) => Uint8Array.from([...Array(26).fill(0), sizes.length, ...sizes, ...bytes]);
const text = (words) => [...words].map((letter) => letter.charCodeAt(0));
const of = (sizes, bytes) => packets(page(sizes, bytes)).map((packet) => packet.length);
console.log(JSON.stringify([
  of([3], [1, 2, 3]),
  of([2, 3], [1, 2, 3, 4, 5]),
  of([255, 45, 4], Array(304).fill(7)),
  of([255, 0], Array(255).fill(7)),
  of([19], [...text("OpusHead"), ...Array(11).fill(0)]),
  of([16], [...text("OpusTags"), ...Array(8).fill(0)]),
  of([], []),
  of([200], [1, 2]),
]));
"""


def node(program: str, module: str, told: object = None) -> Any:
    """What the program prints."""
    line = ["node", "--input-type=module", "-e", program, str(DESKTOP / module)]
    done = subprocess.run(line, input=json.dumps(told), capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Parts of a story: 20 ms each that come, and that are played beside.
SECOND, STALL, BURST = (50, 50), (0, 10), (10, 0)


@pytest.mark.parametrize(
    ("story", "silent", "skipped", "held"),
    [
        ([(2, 2)], 40, 0, (40, 40)),  # too little to begin with
        ([SECOND], 40, 0, (40, 60)),  # a beginning is held back, and then all is played
        ([SECOND] * 60, 40, 0, (40, 60)),
        ([SECOND, STALL, BURST, SECOND], 200, 0, (40, 260)),  # late, and nothing is lost
        ([SECOND, STALL, BURST, SECOND, SECOND, SECOND], 200, 140, (40, 120)),  # and the delay is made up for
        ([SECOND, (100, 0), SECOND, SECOND], 40, 2000, (40, 120)),  # far behind, as after a sleep: at once
    ],
)
def test_the_sound_keeps_up(story: list[tuple[int, int]], silent: float, skipped: float, held: tuple[int, int]) -> None:
    """What is silent, what is left out and what is held at the end, in ms."""
    seen = node(PROGRAM, "playout.js", story)
    assert not seen["backwards"]
    assert abs(seen["silent"] - silent) <= 30, seen
    assert abs(seen["skipped"] - skipped) <= 80, seen
    assert held[0] - 25 <= seen["held"] <= held[1] + 25, seen


def test_who_runs_dry_holds_more_and_after_a_calm_time_less_again() -> None:
    rough = [SECOND, *[STALL, BURST, SECOND, SECOND, SECOND] * 3]
    assert node(PROGRAM, "playout.js", rough)["wanted"] == 120
    assert node(PROGRAM, "playout.js", [*rough, *[SECOND] * 65])["wanted"] == 80


def test_a_page_is_cut_into_its_packets_and_what_only_tells_of_the_stream_is_left_out() -> None:
    assert node(PACKETS, "ogg.js") == [[3], [2, 3], [300, 4], [255], [], [], [], [2]]
