"""Process of its own that publishes a camera's images at a steady rate, as a driver would.

usage: image_publisher.py TOPIC HEIGHT WIDTH RATE COUNT
"""

import sys
import time
from array import array

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main(topic, height, width, rate, count):
    rclpy.init()
    node = rclpy.create_node("image_publisher")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, topic, qos)
    message = Image(height=height, width=width, step=width * 3, encoding="bgr8")
    message.data = array("B", bytes(height * width * 3))
    while not publisher.get_subscription_count():
        time.sleep(0.01)
    # A reader of best-effort data knows its writer a moment after the writer knows it.
    start = time.monotonic() + 0.5
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    sys.stdin.read()  # the last images live in this process's memory until it is told to end


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
