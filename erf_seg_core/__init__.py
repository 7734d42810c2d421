"""Segmentation networks of gradual grouping, their training and inference; imports no ROS."""
