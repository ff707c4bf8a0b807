"""What a slot in a sentence may hold: `{sum:expression}` holds a sum, which is the argument `expression`."""

from collections.abc import Callable, Mapping

from pipecatapp.memory.words import is_statement
from pipecatapp.spoken.durations import read_duration
from pipecatapp.spoken.measures import read_measure, read_unit
from pipecatapp.spoken.moments import is_moment
from pipecatapp.tools.calculator import is_sum
from pipecatapp.tools.clock import is_place

#: The kinds that take nearly anything; a sentence that leaves less to them is the better reading.
FREE_KINDS = frozenset({"text", "statement"})
#: Kind of slot → whether a text is one. A sentence whose slots hold something else was not said.
SLOT_KINDS: Mapping[str, Callable[[str], bool]] = {
    "text": lambda text: any(character.isalnum() for character in text),
    "sum": is_sum,
    "statement": is_statement,
    "duration": lambda text: read_duration(text) is not None,
    "moment": is_moment,
    "measure": lambda text: read_measure(text) is not None,
    "unit": lambda text: read_unit(text) is not None,
    "place": is_place,
}
