"""Data sets: COCO's format, and drawn scenes."""
