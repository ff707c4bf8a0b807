"""Every marked row is broken on purpose: does one of its tests see it?

`python -m tests.mutants [ROW …]`; the mutants of an area's rows stand in `tests/mutants/AREA.yaml`.
"""
