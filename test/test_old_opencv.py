"""Humble's OpenCV: Ubuntu 22.04 has 4.5.4, and a name that it lacks ends both nodes at import."""

import ast
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("erf_seg_core", "erf_seg_ros", "erf_seg_cli")

IN_4_5_4 = """
BORDER_REFLECT BORDER_REPLICATE BORDER_WRAP CAP_FFMPEG CAP_PROP_FPS CAP_PROP_FRAME_COUNT CMP_LT
COLOR_BGR2BGRA COLOR_BGR2GRAY COLOR_BGR2RGB COLOR_BGRA2BGR COLOR_BayerBG2BGR COLOR_BayerGB2BGR
COLOR_BayerGR2BGR COLOR_BayerRG2BGR COLOR_GRAY2BGR COLOR_HSV2BGR COLOR_RGB2BGR COLOR_RGBA2BGR
COLOR_YUV2BGR_NV12 COLOR_YUV2BGR_NV21 COLOR_YUV2BGR_UYVY COLOR_YUV2BGR_YUY2 FILLED
FONT_HERSHEY_DUPLEX FONT_HERSHEY_SIMPLEX FONT_HERSHEY_TRIPLEX GaussianBlur IMREAD_COLOR
IMREAD_IGNORE_ORIENTATION IMREAD_UNCHANGED IMWRITE_JPEG_QUALITY INTER_AREA INTER_LINEAR
INTER_NEAREST INTER_NEAREST_EXACT LINE_8 LINE_AA LUT VideoCapture VideoWriter
VideoWriter_fourcc WARP_INVERSE_MAP addWeighted bitwise_or blur calcHist compare convexHull
copyMakeBorder copyTo cvtColor ellipse error fillConvexPoly fillPoly getNumThreads getTextSize
imdecode imencode imread imwrite line polylines putText rectangle remap resize setNumThreads
warpAffine
"""
"""What we use of it, each looked up in opencv-python-headless 4.5.4.60. Look up what you add:
pip has that wheel for Python 3.10."""


def names_used():
    """{name of cv2: a place that uses it}."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return {
        node.attr: f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cv2"
    }


def test_every_name_is_in_the_opencv_of_ubuntu_22():
    used = names_used()
    assert len(used) > 40  # or the scan finds nothing any more
    assert {n: place for n, place in used.items() if n not in IN_4_5_4.split()} == {}


def test_and_still_is_in_the_newest():
    assert [name for name in IN_4_5_4.split() if not hasattr(cv2, name)] == []
