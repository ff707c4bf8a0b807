"""Which files of tests a long run spent its time in, said at its end."""

from collections import defaultdict

import pytest

#: A run that takes no longer, in seconds, says nothing.
SHORT_RUN_S = 60.0
MOST = 15


class SlowestFiles:
    """Adds up the seconds of a run by file: making what tests stand on, tests, taking it down."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if sum(self.seconds.values()) > SHORT_RUN_S:
            terminalreporter.section("the slowest files, in seconds")
            for file, seconds in sorted(self.seconds.items(), key=lambda one: -one[1])[:MOST]:
                terminalreporter.write_line(f"{seconds:6.0f}  {file}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SlowestFiles())
