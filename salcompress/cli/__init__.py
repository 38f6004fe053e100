"""The command line, one file a command.

At its top a command's file imports the standard library, :mod:`salcompress.errors` and this package
alone, so that ``salcompress --version`` and ``--help`` wait for nothing. What a command works with
is imported in its ``run``.
"""
