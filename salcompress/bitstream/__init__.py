"""Integers and bytes: the .salc format and its range coder."""
