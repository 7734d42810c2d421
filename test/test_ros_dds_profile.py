"""The Fast DDS profile: found, well-formed, and out of the way of a user's own."""

import xml.etree.ElementTree as ElementTree

import pytest

from erf_seg_ros import dds_profile

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in (*VARIABLES, "ROS_DISTRO"):
        monkeypatch.delenv(variable, raising=False)


def test_profile_is_the_default_and_holds_large_images():
    namespace = "{http://www.eprosima.com}"
    root = ElementTree.parse(dds_profile.path()).getroot()
    assert root.find(f".//{namespace}participant").get("is_default_profile") == "true"
    segment = int(root.findtext(f".//{namespace}segment_size"))
    assert segment >= 8 * 1920 * 1080 * 3


@pytest.mark.parametrize(
    ("distribution", "variable"),
    [("kilted", VARIABLES[0]), ("jazzy", VARIABLES[1]), ("humble", VARIABLES[1])],
)
def test_environment_names_the_profile(monkeypatch, distribution, variable):
    monkeypatch.setenv("ROS_DISTRO", distribution)
    assert dds_profile.environment() == {variable: str(dds_profile.path())}


def test_without_a_sourced_ros_the_wheels_tell(monkeypatch):
    assert str(dds_profile.path()) in dds_profile.environment().values()
    for version, variable in (("7.1.6", VARIABLES[1]), ("9.1.2", VARIABLES[0])):
        monkeypatch.setattr(dds_profile.metadata, "version", lambda name, version=version: version)
        assert dds_profile.variable() == variable


@pytest.mark.parametrize("variable", VARIABLES)
def test_users_own_profile_is_kept(monkeypatch, variable):
    monkeypatch.setenv(variable, "/home/me/mine.xml")
    assert dds_profile.environment() == {}
