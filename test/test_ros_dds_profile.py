"""The Fast DDS profile: found, well-formed, and out of the way of a user's own."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from ipaddress import ip_address

import pytest

from erf_seg_ros import dds_profile

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


LISTENING = """
import psutil, rclpy
rclpy.init()
node = rclpy.create_node("node")
print(*{connection.laddr.ip for connection in psutil.Process().net_connections("udp4")})
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in (*VARIABLES, "ROS_DISTRO", "ROS_LOCALHOST_ONLY"):
        monkeypatch.delenv(variable, raising=False)


NAMESPACE = "{http://www.eprosima.com}"
LOCALHOST = {"ROS_LOCALHOST_ONLY": "1"}


@pytest.mark.parametrize("environment", [{}, {"ROS_LOCALHOST_ONLY": "0"}, LOCALHOST])
def test_profile_is_the_default_and_holds_large_images(environment):
    root = ElementTree.parse(dds_profile.path(environment)).getroot()
    assert root.find(f".//{NAMESPACE}participant").get("is_default_profile") == "true"
    segment = int(root.findtext(f".//{NAMESPACE}segment_size"))
    assert segment >= 8 * 1920 * 1080 * 3
    (udp,) = (
        transport
        for transport in root.iter(f"{NAMESPACE}transport_descriptor")
        if transport.findtext(f"{NAMESPACE}type") == "UDPv4"
    )
    interfaces = [address.text for address in udp.iter(f"{NAMESPACE}address")]
    assert interfaces == (["127.0.0.1"] if environment == LOCALHOST else [])


def test_nothing_is_bound_to_other_interfaces_for_localhost_only(ros_domain_id):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    # the profile by itself, without what ROS does about its discovery
    given = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    given |= dds_profile.environment(LOCALHOST)
    ran = subprocess.run(
        [sys.executable, "-c", LISTENING], env=given, capture_output=True, text=True, check=True
    )
    addresses = set(ran.stdout.split())
    assert "127.0.0.1" in addresses
    assert all(ip_address(a).is_loopback or ip_address(a).is_multicast for a in addresses)


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
