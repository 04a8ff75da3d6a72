"""Published results on MNIST, to print beside ours; with sources: reference/published/lenet300.csv and lenet5.csv.

Nearly all are single runs, many chosen on the test set. How sure: "read" in a source, "recalled" from memory and not
verified, "recomputed": recalled too, but the cost of the recalled widths is the recalled cost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row.

    widths          of a perceptron: inputs, hidden widths. Of LeNet-5: channels, channels, hidden width; four numbers
                    where single positions of the flattened maps are cut out too: the third is then how many the dense
                    layer reads
    test_error      in percent;   over_dense  it is by how much that is above the error of the dense network, which is
                    not printed
    macs            multiply-accumulates of the widths
    sureness        "read", "recalled" or "recomputed"
    inputs_removed  inputs were: of a perceptron pixels, of LeNet-5 such positions
    """

    method: str
    widths: tuple[int, ...]
    test_error: float
    macs: int
    sureness: str
    inputs_removed: bool = True
    over_dense: bool = False

    @property
    def error(self) -> str:
        """The test error in words."""
        return f"dense + {self.test_error:.2f}" if self.over_dense else f"{self.test_error:.2f}"


LENET300 = (
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
    Published("Network slimming (Liu 2017)", (784, 100, 60), 1.49, 85_000, "read", False),
    Published("SSL (Wen 2016)", (434, 174, 78), 1.49, 89_868, "read"),
    Published("Scalpel (Yu 2017)", (784, 161, 64), 1.46, 137_168, "read", False),
    Published("Sparse VD (from 500-300)", (537, 217, 130), 1.57, 146_039, "read"),
    Published("SSL, milder (from 500-300)", (469, 294, 166), 1.34, 188_350, "recalled"),
)
"""LeNet-300-100 and its like with all three widths, single networks; by their cost."""

LENET5 = (
    Published("Taylor, small (Molchanov 2017)", (2, 7, 99), 0.2, 63_278, "read", False, True),
    Published("SSR-L2,1, small", (2, 8, 77), 0.18, 65_026, "read", False, True),
    Published("SSL, small (Wen 2016)", (2, 11, 134), 0.2, 88_924, "read", False, True),
    Published("Taylor, large (Molchanov 2017)", (2, 12, 127), 0.02, 92_854, "read", False, True),
    Published("GSS, small", (3, 8, 82), 0.2, 92_916, "read", False, True),
    Published("FLOPs objective, 100K", (2, 7, 112, 478), 1.1, 109_516, "recomputed", False),
    Published("SSR-L2,1, large", (3, 11, 108), 0.05, 116_088, "read", False, True),
    Published("GSS, large", (3, 11, 109), 0.08, 116_274, "read", False, True),
    Published("FLOPs objective, 200K", (3, 8, 128, 499), 1, 150_462, "recomputed", False),
    Published("BC-GHS (Louizos 2017)", (5, 10, 76, 16), 1, 153_376, "read", True),
    Published("SSL, large (Wen 2016)", (3, 15, 175), 0.05, 158_950, "read", False, True),
    Published("Group-HS (Yang 2020)", (5, 12, 139, 13), 1, 169_937, "recomputed", True),
    Published("group lasso (Wen 2016)", (3, 12, 192, 500), 1, 201_800, "recomputed", False),
    Published("SBP (Neklyudov 2017)", (3, 18, 284, 283), 0.86, 212_802, "read", True),
    Published("FLOPs objective, 400K", (3, 13, 208, 500), 0.9, 214_600, "recomputed", False),
    Published("GD (Srinivas & Babu)", (7, 13, 208, 16), 1.1, 249_888, "read", False),
    Published("BC-GNJ (Louizos 2017)", (8, 13, 88, 13), 1, 282_874, "read", True),
    Published("SBP, another's program", (8, 15, 163, 81), 1.17, 321_213, "read", True),
    Published("Bayes l1-trim (Yun 2019)", (8, 17, 53, 19), 1, 333_997, "recomputed", True),
    Published("L0-sep (Louizos 2018)", (9, 18, 65, 25), 1, 390_675, "read", True),
    Published("Scalpel (Yu 2017)", (9, 18, 65), 0.66, 408_170, "read", False),
    Published("L0-sep, another's program", (14, 19, 36, 21), 1.27, 628_166, "read", True),
    Published("Sparse VD (Molchanov 2017)", (14, 19, 242, 131), 1, 660_212, "recomputed", True),
    Published("L0 (Louizos 2018)", (20, 25, 45, 462), 0.9, 1_113_410, "read", True),
    Published("Sparse VD, SBP's table", (17, 32, 329, 75), 0.75, 1_140_625, "read", True),
)
"""LeNet-5 with all its widths; by their cost. Inputs are never removed there, but single positions behind flatten
are."""
