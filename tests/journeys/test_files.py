"""Files to a desktop's home and from it: dropped, chosen, downloaded, by a browser, on a real machine."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.demo import Demo
from tests.journeys.conftest import number_of
from tests.journeys.test_desktop_page import PICTURES, Run, run  # noqa: F401 - a fixture
from tests.waiting import until

DROP = """([names, folders]) => {
  const carried = new DataTransfer();
  for (const name of names) carried.items.add(new File([`from ${name}`], name));
  const whole = DataTransferItem.prototype.webkitGetAsEntry;
  DataTransferItem.prototype.webkitGetAsEntry = function () {  // a script can drop no real folder
    const name = this.getAsFile().name;
    return { isDirectory: folders.includes(name), name };
  };
  const screen = document.querySelector("#screen");
  const options = { dataTransfer: carried, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) screen.dispatchEvent(new DragEvent(kind, options));
  DataTransferItem.prototype.webkitGetAsEntry = whole;
}"""
LISTED = "[data-list]"


def moves(page: Page, name: str) -> str:
    """What the page says of this file."""
    line = page.locator("[data-moves] li").filter(has=page.locator(".file-name", has_text=re.compile(f"^{name}$")))
    said = line.last.locator(".file-said")
    expect(said).not_to_be_empty(timeout=30000)
    return said.inner_text()


def test_files_go_to_the_desktop_and_come_from_it(demo: Demo, launched: Page, run: Run, tmp_path: Path) -> None:  # noqa: F811
    """As the user; a taken name gets a number, a folder is refused in words, what is cancelled leaves nothing, and
    no link leads out. By keyboard, too, and the audit log names each file."""
    page = launched
    page.evaluate(DROP, [["a.txt", "b.txt", "data"], ["data"]])
    assert moves(page, "a.txt") == moves(page, "b.txt") == "It is in Desktop."
    assert moves(page, "data") == "Folders are not taken. Pack it into one file first."
    page.evaluate(DROP, [["a.txt"], []])  # into the home: the panel shows it now
    assert moves(page, "a.txt") == "It is in your home."
    page.locator(LISTED).get_by_role("button", name="Desktop/").press("Enter")
    expect(page.locator("[data-place]")).to_have_text("Desktop")
    page.evaluate(DROP, [["a.txt"], []])
    expect(page.locator(".file-said").last).to_have_text("It is in Desktop as a (2).txt, because its name was taken.")
    assert run(page, "cat ~/a.txt ~/Desktop/*.txt; stat -c %U Desktop/a.txt") == "from a.txt" * 3 + "from b.txtalice\n"
    with page.expect_download() as coming:
        page.locator(LISTED).get_by_role("link", name="a (2).txt").press("Enter")
    assert coming.value.path().read_text() == "from a.txt"
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=PICTURES / f"files-{width}.png")
    page.keyboard.press("Escape")
    expect(page.locator('[data-do="files"]')).to_be_focused()

    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(2 * 10**9)
    page.locator('[data-do="files"]').click()
    page.locator("[data-chosen]").set_input_files(large)
    expect(page.get_by_label("Progress of large.bin")).to_have_attribute("title", re.compile("^[1-9].* MB of 2.0 GB$"))
    page.get_by_role("button", name="Cancel large.bin").click()
    assert moves(page, "large.bin") == "Cancelled. Nothing of it was kept."
    until(lambda: run(page, "ls -A Desktop").split("\n")[:-1] == ["a (2).txt", "a.txt", "b.txt"], "no draft", 20)

    address = f"{demo.url}/api/v1/sessions/{number_of(page)}/files"
    run(page, "cd Desktop; ln -s /etc/passwd link; mkfifo fifo; ln -s / root")
    for place in ("folder=Desktop&name=link", "folder=Desktop&name=fifo", "folder=Desktop/root/etc&name=passwd"):
        assert page.request.get(f"{address}/content?{place}").status == 404
    with demo.client("admin") as admin:
        for action in ("session:upload", "session:download"):
            row = admin.get("/admin/audit", params={"action": action}).raise_for_status().json()[0]
            moved = {"folder": "Desktop", "file": "a (2).txt", "bytes": 10}
            assert (row["actor"], row["subject"], row["detail"]) == ("alice", number_of(page), moved)
