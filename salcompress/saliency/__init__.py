"""Saliency of images: functions from an image to a map, the network, and marked objects."""
