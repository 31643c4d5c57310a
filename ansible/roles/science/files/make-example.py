"""Writes powder.h5, the science environment's example: silicon powder, as a diffractometer sees it.

    /usr/bin/python3 make-example.py powder.h5

The lines are those of silicon (a = 5.431 Å) at a wavelength of 1.54 Å; intensities are rounded from tables, the noise
is counting noise with a fixed seed, so the same file is made each time.
"""

import sys

import h5py
import numpy as np

WAVELENGTH, LATTICE = 1.5406, 5.4310  # Å
LINES = {(1, 1, 1): 100, (2, 2, 0): 55, (3, 1, 1): 30, (4, 0, 0): 6, (3, 3, 1): 11, (4, 2, 2): 12, (5, 1, 1): 6}
DISTANCE, PIXEL, SIZE = 120.0, 0.6, 512  # mm, mm, pixels


def pattern(two_theta: np.ndarray) -> np.ndarray:
    """Expected counts at each angle, in degrees: a falling background and a Gaussian for each line."""
    counts = 12 + 60 * np.exp(-two_theta / 18)
    for indices, height in LINES.items():
        spacing = LATTICE / np.sqrt(sum(i * i for i in indices))
        centre = 2 * np.degrees(np.arcsin(WAVELENGTH / (2 * spacing)))
        width = 0.28 + 0.002 * centre
        counts = counts + 4 * height * np.exp(-0.5 * ((two_theta - centre) / width) ** 2)
    return counts


def main(target: str) -> None:
    random = np.random.default_rng(20)
    two_theta = np.linspace(10, 100, 3601)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    radius = PIXEL * np.hypot(x - SIZE * 0.48, y - SIZE * 0.53)
    image = random.poisson(pattern(np.degrees(np.arctan(radius / DISTANCE))) / 4).astype("uint16")
    with h5py.File(target, "w", track_order=True) as file:
        entry = file.create_group("entry")
        file.attrs["default"], entry.attrs["default"], entry.attrs["NX_class"] = "entry", "powder", "NXentry"
        entry["title"] = "Silicon powder at 1.54 Å"
        powder = entry.create_group("powder")
        powder.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": "two_theta"})
        powder["two_theta"], powder["counts"] = two_theta, random.poisson(10 * pattern(two_theta)).astype("uint16")
        powder["two_theta"].attrs["units"] = "degree"
        detector = entry.create_group("detector")
        detector.attrs.update({"NX_class": "NXdata", "signal": "image"})
        detector.create_dataset("image", data=image, compression="gzip", compression_opts=9, shuffle=True)
        detector["distance"] = DISTANCE
        detector["distance"].attrs["units"] = "mm"


if __name__ == "__main__":
    main(sys.argv[1])
