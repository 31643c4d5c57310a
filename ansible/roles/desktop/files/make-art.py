"""Draws what the desktops show: the wallpaper, the launchers' icons and the light theme's buttons.

    .venv/bin/python ansible/roles/desktop/files/make-art.py

The pictures are committed; this is how they were made, and how to make them again in other colours.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROLES = Path(__file__).resolve().parents[2]
SHARE = ROLES / "desktop/files/root/usr/local/share"
THEME = ROLES / "light/files/root/usr/share/icewm/themes/Beamdesk"
DARK, TEAL, LIGHT, GLOW, PAPER = "#0e2632", "#1c6b7a", "#d7e6ea", "#5fd0c5", "#f4f8f9"
BUTTONS = {"A": (TEAL, "#ffffff"), "I": ("#163847", "#9fb8c0"), "O": ("#2a8494", "#ffffff")}
LARGE = 384  # icons are drawn at this size and made small


def wallpaper() -> Image.Image:
    """Dark teal, with the arcs of a beam line."""
    width, height = 1920, 1080
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    mix = (0.55 * v + 0.45 * u)[..., None]
    top, middle, bottom = (np.array(colour, float) for colour in ((13, 43, 58), (18, 74, 92), (9, 30, 48)))
    picture = np.where(mix < 0.5, top + (middle - top) * mix * 2, middle + (bottom - middle) * (mix * 2 - 1))
    light = np.exp(-((u - 0.22) ** 2 / 0.05 + (v - 0.78) ** 2 / 0.09))[..., None]
    picture += light * np.array([10, 42, 48])
    for radius, breadth, strength in ((1.05, 0.16, 0.10), (1.28, 0.07, 0.12), (1.42, 0.03, 0.16), (0.80, 0.05, 0.08)):
        distance = np.hypot((u + 0.15) * width / height, v - 1.25)
        band = 1 / (1 + np.exp(-(distance - radius) / 0.004)) / (1 + np.exp((distance - radius - breadth) / 0.004))
        picture += (band * strength)[..., None] * np.array([60, 150, 165]) * (1 - u * 0.5)[..., None]
    picture += np.random.default_rng(1).normal(0, 0.6, picture.shape)  # against bands in the gradients
    return Image.fromarray(np.clip(picture, 0, 255).astype("uint8"))


def tile(colour: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A rounded square to draw an icon on."""
    picture = Image.new("RGBA", (LARGE, LARGE))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((24, 24, LARGE - 24, LARGE - 24), 64, fill=colour)
    return picture, draw


def terminal() -> Image.Image:
    picture, draw = tile("#21485a")
    draw.line([(96, 120), (168, 192), (96, 264)], fill=GLOW, width=30, joint="curve")
    draw.line([(196, 270), (292, 270)], fill=PAPER, width=28)
    return picture


def editor() -> Image.Image:
    picture, draw = tile(PAPER)
    for y, end in ((110, 290), (170, 290), (230, 250), (290, 200)):
        draw.line([(92, y), (end, y)], fill="#8fa9b3", width=20)
    draw.line([(322, 190), (236, 316)], fill="#e08a3c", width=40)
    draw.polygon([(217, 306), (254, 330), (214, 348)], fill=DARK)
    return picture


def console() -> Image.Image:
    picture, draw = tile("#e8743b")
    x = np.linspace(70, 314, 60)
    curve = 232 - 120 * np.exp(-(((x - 160) / 30) ** 2)) - 70 * np.exp(-(((x - 250) / 22) ** 2))
    draw.line(list(zip(x, curve, strict=True)), fill=PAPER, width=22, joint="curve")
    draw.line([(70, 294), (314, 294)], fill="#ffd9c4", width=18)
    return picture


def viewer() -> Image.Image:
    picture, draw = tile("#2b1f5c")
    for radius, colour in ((142, "#31688e"), (104, "#21918c"), (66, "#5ec962")):
        box = (192 - radius, 192 - radius, 192 + radius, 192 + radius)
        draw.ellipse(box, outline=colour, width=20)
    draw.ellipse((166, 166, 218, 218), fill="#fde725")
    return picture


def example() -> Image.Image:
    picture, draw = tile(PAPER)
    for x, height in ((110, 120), (170, 200), (230, 90), (290, 150)):
        draw.line([(x, 300), (x, 300 - height)], fill=TEAL, width=34)
    draw.line([(76, 312), (310, 312)], fill="#8fa9b3", width=16)
    return picture


def files() -> Image.Image:
    picture = Image.new("RGBA", (LARGE, LARGE))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((28, 76, 200, 200), 28, fill="#2f93a3")
    draw.rounded_rectangle((28, 112, LARGE - 28, 324), 34, fill="#3fb3c0")
    draw.rounded_rectangle((28, 150, LARGE - 28, 324), 34, fill="#62cbd2")
    return picture


def logo() -> Image.Image:
    picture = Image.new("RGBA", (LARGE, LARGE))
    draw = ImageDraw.Draw(picture)
    for radius, colour, width in ((330, "#2f93a3", 46), (236, GLOW, 54)):
        draw.arc((20 - radius, 364 - radius, 20 + radius, 364 + radius), 270, 360, fill=colour, width=width)
    draw.ellipse((28, 256, 128, 356), fill=PAPER)
    return picture


def show_desktop() -> Image.Image:
    picture = Image.new("RGBA", (LARGE, LARGE))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((40, 70, LARGE - 40, 290), 30, outline=LIGHT, width=30)
    draw.line([(120, 336), (264, 336)], fill=LIGHT, width=30)
    return picture


def button(kind: str, background: str, ink: str) -> Image.Image:
    """A window's button as IceWM wants it: at rest above, pressed below."""
    size = (26, 28)
    both = Image.new("RGB", (size[0], 2 * size[1]))
    both.paste(button_state(kind, background, ink), (0, 0))
    both.paste(button_state(kind, "#2fa0b0", ink), (0, size[1]))
    return both


def button_state(kind: str, background: str, ink: str) -> Image.Image:
    """One state of a button, with the title bar's colour as its ground."""
    size, scale = (26, 28), 8
    picture = Image.new("RGB", (size[0] * scale, size[1] * scale), background)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom, width = 8 * scale, 9 * scale, 18 * scale, 19 * scale, 12
    if kind == "close":
        draw.line([(left, top), (right, bottom)], fill=ink, width=width)
        draw.line([(left, bottom), (right, top)], fill=ink, width=width)
    elif kind == "minimize":
        draw.line([(left, bottom), (right, bottom)], fill=ink, width=width)
    else:
        draw.rectangle((left, top, right, bottom), outline=ink, width=width)
        if kind == "restore":
            draw.rectangle((left, top, right, top + 3 * scale), fill=ink)
    return picture.resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    (SHARE / "beamdesk").mkdir(parents=True, exist_ok=True)
    wallpaper().save(SHARE / "beamdesk/wallpaper.jpg", quality=88, optimize=True)
    for draw in (terminal, editor, console, viewer, example, files, logo):
        for size in (24, 48):
            folder = SHARE / f"icons/hicolor/{size}x{size}/apps"
            folder.mkdir(parents=True, exist_ok=True)
            icon = draw().resize((size, size), Image.Resampling.LANCZOS)
            icon.save(folder / f"beamdesk-{draw.__name__}.png", optimize=True)
    for kind in ("close", "minimize", "maximize", "restore"):
        for suffix, (background, ink) in BUTTONS.items():
            button(kind, background, ink).save(THEME / f"{kind}{suffix}.png")
    (THEME / "taskbar").mkdir(exist_ok=True)
    for name, draw in (("start", logo), ("desktop", show_desktop)):
        draw().resize((24, 24), Image.Resampling.LANCZOS).save(THEME / f"taskbar/{name}.png")


if __name__ == "__main__":
    main()
