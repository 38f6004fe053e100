"""Detectors evaluated on compressed data sets: average precision against bits per pixel."""
