"""The command line, ``salcompress``."""
