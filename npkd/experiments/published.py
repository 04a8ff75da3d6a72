"""Published results on MNIST with LeNet-300-100 and its like, to print beside ours; with sources: reference/published/lenet300.csv.

Nearly all are single runs, many chosen on the test set. How sure: "read" in a source, "recalled" from memory and not verified, "recomputed":
recalled too, but the cost by (C1) of the recalled widths is the recalled cost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row: kept inputs and hidden widths, test error in percent, multiply-accumulates, how sure, and whether inputs were removed."""

    method: str
    widths: tuple[int, int, int]
    test_error: float
    macs: int
    sureness: str

    @property
    def inputs_removed(self) -> bool:
        """784 inputs are all of them."""
        return self.widths[0] < 784


PUBLISHED = (
    Published("VIBNet (Dai 2018)", (97, 71, 33), 1.6, 9_560, "read"),
    Published("Group-HS (Yang 2020)", (353, 45, 11), 1.8, 16_490, "recomputed"),
    Published("Bayes l1-trim (Yun 2019)", (245, 75, 25), 1.7, 20_500, "recomputed"),
    Published("L0-sep (Louizos 2018)", (266, 88, 33), 1.8, 26_642, "recalled"),
    Published("BC-GHS (Louizos 2017)", (311, 86, 14), 1.8, 28_090, "recomputed"),
    Published("BC-GNJ (Louizos 2017)", (278, 98, 13), 1.8, 28_648, "recomputed"),
    Published("SBP (Neklyudov 2017)", (245, 160, 55), 1.55, 48_550, "read"),
    Published("DropNeuron (Pan 2016)", (542, 83, 61), 1.83, 50_659, "read"),
    Published("Sparse VD (Molchanov 2017)", (512, 114, 72), 1.8, 67_296, "recomputed"),
    Published("L0 (Louizos 2018)", (219, 214, 100), 1.4, 69_266, "recomputed"),
    Published("Network slimming (Liu 2017)", (784, 100, 60), 1.49, 85_000, "read"),
    Published("SSL (Wen 2016)", (434, 174, 78), 1.49, 89_868, "read"),
    Published("Scalpel (Yu 2017)", (784, 161, 64), 1.46, 137_168, "read"),
    Published("Sparse VD (from 500-300)", (537, 217, 130), 1.57, 146_039, "read"),
    Published("SSL, milder (from 500-300)", (469, 294, 166), 1.34, 188_350, "recalled"),
)
"""Rows with all three widths, single networks; by their cost."""
