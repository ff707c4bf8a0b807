"""The commands, a module each.

All of them talk to the place that `choose_place` gives. What takes long to load is imported inside them.
"""
