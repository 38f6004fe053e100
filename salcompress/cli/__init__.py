"""The command line, one file a command.

A command's file imports argparse and :mod:`salcompress.cli.arguments` alone at its top, so that
``salcompress --version`` and ``--help`` wait for nothing. What a command works with is imported in
its ``run``.
"""
