"""The README's picture, from the folder of a run: python -m reference.figures npkd-out docs/figures/main-job.png"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread


def main(run: Path, target: Path) -> None:
    """Which inputs survive, and the path, side by side."""
    pictures = [imread(run / "figures" / f"{name}.png") for name in ("pixels", "path")]
    widths = [p.shape[1] / p.shape[0] for p in pictures]
    figure = Figure(figsize=(4.2 * sum(widths), 4.2))
    for axes, picture in zip(figure.subplots(1, 2, width_ratios=widths), pictures, strict=True):
        axes.imshow(picture, interpolation="lanczos")
        axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
