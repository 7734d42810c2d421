"""Rosbags: reading any, writing rosbag2, making them of synthetic drives, data sets and videos."""

from .reader import BagMessage, BagReader, TopicInfo
from .writer import BagWriter

__all__ = ["BagMessage", "BagReader", "BagWriter", "TopicInfo"]
