"""The README's picture of a report: some of its sections, as a browser shows them, as one JPEG.

    erf_seg bag make --synthetic --seed 11 --frames 75 --output drive
    erf_seg bag evaluate drive --models dg4,dg4_star_light,erfnet --annotate none --output drive_out
    python scripts/report_picture.py drive_out/report.html docs/images/report.jpg

Needs Chromium and OpenCV. Take public or synthetic recordings: the picture shows their frames.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

SIZE = (1100, 3200)
"""Width and height of the browser window; what stays empty below the page is cut off."""

ONLY = """<style>
body { padding-bottom: 1rem; } h2 { margin-top: 1.5rem; } section > p, header p { display: none; }
section:nth-of-type(2) h3 ~ h3 ~ h3, section:nth-of-type(2) h3 ~ h3 ~ h3 ~ *,
section:nth-of-type(3), section:nth-of-type(n + 5),
section:nth-of-type(4) figure ~ * { display: none; }
</style></head>"""
"""The models side by side, IoU by class and over the drive, one strip.

The sections are those of `templates/report.html.j2`.
"""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="report.html of an offline evaluation")
    parser.add_argument("picture", type=Path, help="JPEG to write")
    parser.add_argument("--browser", default="chromium", help="Chromium's executable")
    args = parser.parse_args()
    picture = photograph(args.report.read_text(encoding="utf-8"), args.browser)
    cv2.imwrite(str(args.picture), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(f"{args.picture}: {args.picture.stat().st_size // 1000} kB")


def photograph(page: str, browser: str) -> np.ndarray:
    """Picture of the chosen sections, uint8 H×W×3 BGR."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.png"
        source.write_text(page.replace("</head>", ONLY, 1), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars"]
        command += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={target}"]
        subprocess.run([*command, source.as_uri()], check=True, capture_output=True)
        picture = cv2.imread(str(target))
    inked = np.flatnonzero((picture != picture[-1, 0]).any(axis=(1, 2)))
    return picture[: inked[-1] + 24]


if __name__ == "__main__":
    main()
