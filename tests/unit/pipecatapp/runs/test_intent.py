from typing import Any

import pytest

from pipecatapp.runs.records import RunFailedError
from pipecatapp.workflow.errors import ErrorCode

NODES = """
    find: {type: intent, text: "${{ inputs.text }}", sentences: LANGUAGE}
    say: {type: output, text: "${{ find.matched }} ${{ find.tool }} ${{ find.args | json }}"}
    """
HEAD = "inputs: {text: {type: text}}\noutputs: {reply: '${{ say.text }}'}\n"


@pytest.fixture
def find(kit):
    async def find(text: str, language: str = "en") -> Any:
        return await kit.run(NODES.replace("LANGUAGE", language), HEAD, {"text": text})

    return find


async def test_a_command_gives_the_tool_and_its_arguments(find):
    result = await find("What is 17 times 23?")
    assert result.outputs == {"reply": 'true calculator {"expression":"17 times 23"}'}


async def test_what_is_no_command_is_not_matched(find):
    assert (await find("What is love?")).outputs == {"reply": "false  {}"}


async def test_a_language_without_sentences_fails_and_names_those_that_there_are(find):
    with pytest.raises(RunFailedError, match=r"there are no sentences in 'xx' \(known: en\)") as caught:
        await find("What is love?", "xx")
    assert caught.value.code == ErrorCode.INVALID_CONFIG
