"""What tests of model servers share."""

from collections.abc import Iterator

import pytest
import structlog

from tests.servers.model_bench import Log


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged during the test."""
    made = Log()
    structlog.configure(processors=[made.take], cache_logger_on_first_use=False)
    yield made
    structlog.reset_defaults()
