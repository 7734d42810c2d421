"""Installs the three packages; name, version, licence and maintainer are package.xml's."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

manifest = ElementTree.parse("package.xml").getroot()
name = manifest.findtext("name")
maintainer = manifest.find("maintainer")


def files(pattern: str) -> list[str]:
    """Return the files (not folders) that match, in an order that never changes."""
    return sorted(str(path) for path in Path().glob(pattern) if path.is_file())


setup(
    name=name,
    version=manifest.findtext("version"),
    description=manifest.findtext("description"),
    license=manifest.findtext("license"),
    maintainer=maintainer.text,
    maintainer_email=maintainer.get("email"),
    python_requires=">=3.10",
    packages=find_packages(
        include=[
            f"{room}{deeper}"
            for room in ("erf_seg_core", "erf_seg_ros", "erf_seg_cli")
            for deeper in ("", ".*")
        ]
    ),
    package_data={
        "erf_seg_core": ["class_set_files/*.yaml", "checkpoints/*.safetensors", "checkpoints/*.md"],
        "": ["templates/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
        (f"share/{name}/launch", files("launch/*.launch.py")),
        (f"share/{name}/config", files("config/*")),
        (f"share/{name}/config/class_maps", files("config/class_maps/*")),
    ],
    # The ROS packages are absent on purpose: they come from package.xml (rosdep) on a robot and
    # from requirements/ros_*.txt (wheels) in the .venv. Versions are pinned in requirements/.
    install_requires=[
        "torch",
        "numpy",
        "opencv-python-headless",
        "safetensors",
        "onnx",
        "onnxruntime",
        "rosbags",
        "PyYAML",
        "tqdm",
        "matplotlib",
        "tensorboard",
        "jinja2",
        "psutil",
    ],
    extras_require={"test": ["pytest", "pytest-timeout"], "cluster": ["distributed"]},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "erf_seg = erf_seg_cli.main:main",
            "segmentation_node = erf_seg_ros.segmentation_node:main",
            "semantic_cloud_node = erf_seg_ros.semantic_cloud_node:main",
        ],
    },
)
