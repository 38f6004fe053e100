"""Whole data sets on several machines, by Ray. No other room imports it."""
