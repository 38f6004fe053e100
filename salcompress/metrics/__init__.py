"""Figures of merit, each in its file."""
