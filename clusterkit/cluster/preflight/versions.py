"""Compares versions as people write them."""

import re


def older(version: str, least: str) -> bool:
    """Whether `version` (2.19.1, 12, 1.11.0-beta.1) comes before `least`, number by number."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.split("-")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
