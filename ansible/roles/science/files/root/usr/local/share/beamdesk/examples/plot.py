"""Plots the example measurement and finds its lines. In the Jupyter console:

%run /usr/local/share/beamdesk/examples/plot.py
"""

from pathlib import Path

import h5py
import matplotlib.pyplot as plt
from scipy.signal import find_peaks

with h5py.File(Path(__file__).with_name("powder.h5")) as file:
    title = file["entry/title"][()].decode()
    two_theta, counts = file["entry/powder/two_theta"][:], file["entry/powder/counts"][:]
    image = file["entry/detector/image"][:]

peaks, _ = find_peaks(counts, prominence=150, distance=20)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[2, 1])
left.plot(two_theta, counts, linewidth=0.8)
left.plot(two_theta[peaks], counts[peaks], "v", markersize=6)
left.set(title=title, xlabel="2θ / degree", ylabel="counts")
right.imshow(image, cmap="viridis", vmax=60)
right.set(title="detector", xticks=[], yticks=[])
figure.tight_layout()
plt.show()
print("lines at 2θ =", ", ".join(f"{angle:.2f}°" for angle in two_theta[peaks]))
