"""Why a turn or a message is not taken, or not answered. What each is over HTTP stands in `web/errors.py`."""

from clusterkit.errors import HearthError

BUSY_SECONDS = 2.0  #: how long to wait before asking again when there is too much to do


class TurnError(HearthError):
    """A turn was not carried out. `retry_after`: seconds after which asking again may help, if it may."""

    code = "turn_failed"
    retry_after: float | None = None


class InvalidTurn(TurnError):
    """A conversation does not end with something that a person said."""

    code = "invalid_turn"


class TooManyTurns(TurnError):
    """As many turns run and wait as may."""

    code = "too_many_turns"
    retry_after = BUSY_SECONDS

    def __init__(self, present: int) -> None:
        """`present` turns run or wait."""
        super().__init__(f"{present} turns are running or waiting already.")
        self.present = present


class NoPlaceInTime(TurnError):
    """A turn waited for as long as it may, and no other one ended."""

    code = "too_many_turns"
    retry_after = BUSY_SECONDS

    def __init__(self, seconds: float) -> None:
        """It waited for `seconds`."""
        super().__init__(f"No other turn ended within {seconds:g} s.")
        self.seconds = seconds


class TurnCrashed(TurnError):
    """A mistake of our own ended the turn. It is in the log and is nobody else's business."""

    code = "internal"

    def __init__(self) -> None:
        """The message tells nothing of the mistake."""
        super().__init__("Something went wrong here; the log has it.")


class TooManyMessages(TurnError):
    """As many messages are under way as may be."""

    code = "too_many_messages"

    def __init__(self) -> None:
        """The number is the same for everybody."""
        super().__init__("Too many messages are under way.")


class ForeignCallback(TurnError):
    """An answer would go to a host that has nothing to do with this Hearth."""

    code = "foreign_callback"

    def __init__(self, host: str) -> None:
        """`host` is no host of this Hearth."""
        super().__init__(
            f"Answers are sent to this machine and to services of this Hearth only, not to {host}."
        )
        self.host = host
