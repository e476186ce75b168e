"""Runs child processes that talk in JSON lines, and the real clock."""
