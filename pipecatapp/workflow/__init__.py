"""Workflow files as data: reading, checking, typing, planning. No I/O, no clock."""
