"""Fuzzing: every decoder, and the pure objects behind it, against bytes that nobody thought of.

tests/test_fuzz.py does a little of it in the suite. `python -m tests.fuzz` does as much as it is told, guided by coverage where
atheris is installed (`pip install atheris`), and prints a table.
"""
