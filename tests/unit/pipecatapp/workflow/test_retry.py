import pytest

from pipecatapp.workflow.errors import ErrorCode, NodeError
from pipecatapp.workflow.model import Retry
from pipecatapp.workflow.retry import retry_delay

RETRY = Retry.model_validate({"max_attempts": 5, "backoff": "1s", "max_backoff": "5s"})
NETWORK = NodeError(ErrorCode.NETWORK, "gone")


def test_the_wait_doubles_up_to_its_bound_and_is_spread_by_chance():
    assert [retry_delay(RETRY, NETWORK, attempt, 1.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, None]
    assert retry_delay(RETRY, NETWORK, 3, 0.25) == 1.0


def test_what_the_other_side_asked_for_is_waited_within_the_bound():
    assert retry_delay(RETRY, NodeError(ErrorCode.RATE_LIMIT, "slow", retry_after=3), 1, 0.5) == 3
    assert retry_delay(RETRY, NodeError(ErrorCode.RATE_LIMIT, "slow", retry_after=60), 1, 0.5) == 5


@pytest.mark.parametrize("code", [ErrorCode.TOOL_FAILED, ErrorCode.BAD_ARGUMENTS, ErrorCode.INTERNAL])
def test_a_failure_that_would_come_again_is_not_retried(code):
    assert retry_delay(RETRY, NodeError(code, "no"), 1, 0.5) is None
    wanted = RETRY.model_copy(update={"on": (code,)})
    assert retry_delay(wanted, NodeError(code, "no"), 1, 0.5) == 0.5


def test_without_a_retry_there_is_none():
    assert retry_delay(None, NETWORK, 1, 0.5) is None
