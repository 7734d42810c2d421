"""Everything that speaks ROS: the segmentation node, its messages, and replay over DDS."""
