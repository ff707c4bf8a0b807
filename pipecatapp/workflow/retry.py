"""How long to wait before a failed node is tried again, and whether to try at all."""

from pipecatapp.workflow.errors import Failure, NodeError
from pipecatapp.workflow.model import Retry


def retry_delay(retry: Retry | None, error: Failure | NodeError, attempt: int, chance: float) -> float | None:
    """Seconds until the next attempt, or None when there is none.

    Full jitter: a random part (`chance` in [0, 1)) of a bound that doubles with each attempt, so that
    many callers do not come back at once (M. Brooker, "Exponential Backoff and Jitter", 2015). A wait
    that the other side asked for is kept, up to `max_backoff`.
    """
    if retry is None or attempt >= retry.max_attempts:
        return None
    wanted = error.error_code in retry.on if retry.on is not None else error.retryable
    if not wanted:
        return None
    bound = min(retry.max_backoff, retry.backoff * 2.0 ** (attempt - 1))
    return max(chance * bound, min(error.retry_after or 0.0, retry.max_backoff))
