"""Pictures of the documentation, from files that commands have written.

    python -m reference.figures main-job npkd-out docs/figures/main-job.png
    python -m reference.figures lenet300 reference/measured/lenet300.json docs/figures/lenet300.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

from npkd.experiments.picture import pareto


def main_job(run: Path) -> Figure:
    """Which inputs survive, and the path, side by side, from the folder of a run."""
    pictures = [imread(run / "figures" / f"{name}.png") for name in ("pixels", "path")]
    widths = [p.shape[1] / p.shape[0] for p in pictures]
    figure = Figure(figsize=(4.2 * sum(widths), 4.2))
    for axes, picture in zip(figure.subplots(1, 2, width_ratios=widths), pictures, strict=True):
        axes.imshow(picture, interpolation="lanczos")
        axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0)
    return figure


def lenet300(measured: Path) -> Figure:
    """All methods and the published points, from the file that ``npkd reproduce lenet300 --json`` has written."""
    found = json.loads(measured.read_text())
    return pareto(found["comparison"], found["records"])


if __name__ == "__main__":
    {"main-job": main_job, "lenet300": lenet300}[sys.argv[1]](Path(sys.argv[2])).savefig(sys.argv[3], dpi=110)
