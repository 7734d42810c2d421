"""The numbers printed in the paper (Vallurupalli et al., CVPRW 2018, Tables 3 to 5)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One printed row: mIoU in % on Cityscapes val (19 classes, truth subsampled by 2)."""

    params: int
    gflops: float
    miou: float


PAPER_ROWS: dict[str, PaperRow] = {
    "erfnet": PaperRow(2_038_448, 27.705, 70.45),
    "d_star": PaperRow(547_120, 10.597, 68.55),
    "dg2_star": PaperRow(395_568, 8.852, 65.35),
    "dg4_star": PaperRow(319_792, 7.980, 61.42),
    "dg8_star": PaperRow(281_904, 7.543, 59.15),
    "dg2s_star": PaperRow(395_568, 8.852, 65.36),
    "dg4s_star": PaperRow(319_792, 7.980, 61.27),
    "dg8s_star": PaperRow(281_904, 7.543, 59.89),
    "d_star_light": PaperRow(431_312, 5.773, 68.39),
    "dg2_star_light": PaperRow(279_760, 4.029, 66.10),
    "dg4_star_light": PaperRow(203_984, 3.156, 63.80),
    "d": PaperRow(1_291_648, 19.025, 69.26),
    "dg2": PaperRow(1_238_960, 18.998, 69.71),
    "dg4": PaperRow(1_202_096, 18.595, 68.98),
    "dg8": PaperRow(1_183_664, 18.394, 69.57),
    "dg2s": PaperRow(1_238_960, 18.998, 70.62),
    "dg4s": PaperRow(1_202_096, 18.595, 69.59),
    "dg8s": PaperRow(1_183_664, 18.394, 69.57),
}

PRINTED_BUT_INCONSISTENT = frozenset({"d"})
"""Table 5's row D does not fit its own DG rows: the convention that gives every other row exactly
gives 1 312 688 parameters and 19.803 GFLOPs for it."""
