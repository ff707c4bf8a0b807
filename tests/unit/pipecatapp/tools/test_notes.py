import pytest

from pipecatapp.tools.base import ToolError
from pipecatapp.tools.notes import AddNote, DeleteNote, ListNotes


@pytest.fixture
async def notes(home):
    kept = home.memory.notes
    for text in ("call the plumber", "the plumber costs 80 an hour", "buy stamps"):
        assert await home.say(AddNote(kept), text=text) == f"Noted: {text}"
    return kept


async def test_notes_are_read_in_the_order_in_which_they_were_made(home, notes):
    assert (
        await home.say(ListNotes(notes)) == "- call the plumber\n- the plumber costs 80 an hour\n- buy stamps"
    )
    assert (await home.call(ListNotes(notes), words="the plumbers")).data == {
        "notes": ["call the plumber", "the plumber costs 80 an hour"]
    }
    assert await home.say(ListNotes(notes), words="cats") == "There are no notes about cats."


async def test_a_note_is_deleted_by_words_that_only_it_has(home, notes):
    assert (
        await home.say(DeleteNote(notes), words="call the plumber") == "The note is deleted: call the plumber"
    )
    assert len((await home.call(ListNotes(notes))).data["notes"]) == 2


@pytest.mark.parametrize(
    ("words", "problem"), [("plumber", "2 notes have"), ("cats", "no note has"), ("the", "no note")]
)
async def test_when_it_is_not_clear_which_note_is_meant_none_is_deleted(home, notes, words, problem):
    with pytest.raises(ToolError, match=f"{problem}.*nothing was deleted"):
        await home.say(DeleteNote(notes), words=words)
    assert len((await home.call(ListNotes(notes))).data["notes"]) == 3
