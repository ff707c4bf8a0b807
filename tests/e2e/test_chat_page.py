"""The chat page in a browser, against a running Hearth with its real model."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.conftest import Watched
from tests.houses import House

LONG = "Count from 1 to 500, one number on each line."


def answers(page: Page) -> Locator:
    return page.locator("#messages li[data-role=assistant]")


def ask(page: Page, question: str) -> Locator:
    """Type a question and send it; gives its answer."""
    number = answers(page).count()
    page.get_by_label("Your message").fill(question)
    page.get_by_role("button", name="Send").click()
    return answers(page).nth(number)


def finished(page: Page) -> None:
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=60_000)


def stream(*events: dict[str, Any] | str) -> bytes:
    written = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {event}\n\n" for event in written).encode()


def says(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def answer_with(page: Page, body: bytes, status: int = 200) -> list[Any]:
    """Let the page get this answer instead of the agent's; gives the list of what it sends."""
    sent: list[Any] = []

    def fulfil(route: Route) -> None:
        sent.append(route.request.post_data_json)
        kind = "text/event-stream" if status == 200 else "application/json"
        route.fulfill(status=status, body=body, content_type=kind)

    page.route("**/api/chat", fulfil)
    return sent


def test_a_question_for_a_tool_is_answered_and_the_tool_is_named(page: Page) -> None:
    answer = ask(page, "What is 17 * 23?")
    expect(answer).to_contain_text("391")
    expect(answer).to_contain_text("answered by calculator")
    expect(page.locator("#messages li[data-role=user]")).to_have_text("What is 17 * 23?")
    finished(page)


def test_an_answer_of_the_model_grows_while_it_is_made(page: Page) -> None:
    answer = ask(page, LONG)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(answer).to_have_text(re.compile(r"\S"), timeout=30_000)
    first = answer.inner_text()
    expect(answer).not_to_have_text(first)
    assert answer.inner_text().startswith(first.rstrip())
    page.get_by_role("button", name="Stop").click()


def test_stop_keeps_what_was_said_and_the_conversation_goes_on(page: Page) -> None:
    answer = ask(page, LONG)
    expect(answer).to_have_text(re.compile(r"\S+\s+\S+"), timeout=30_000)
    page.get_by_role("button", name="Stop").click()
    finished(page)
    kept = answer.inner_text()
    assert kept.strip()
    expect(ask(page, "What is 2 + 2?")).to_contain_text("4")
    assert answer.inner_text() == kept
    assert page.locator("#messages li[data-role=problem]").count() == 0


def test_stop_before_the_first_word_takes_the_question_out_of_the_conversation(page: Page) -> None:
    held: list[Route] = []
    page.route("**/api/chat", lambda route: held.append(route))
    answer = ask(page, "Tell me a story.")
    expect(answer).to_have_text("")
    page.get_by_role("button", name="Stop").click()
    finished(page)
    expect(answers(page)).to_have_count(0)
    page.unroute("**/api/chat")
    sent = answer_with(page, stream(says("Four."), "[DONE]"))
    expect(ask(page, "What is two and two?")).to_have_text("Four.")
    assert sent[0]["messages"] == [{"role": "user", "content": "What is two and two?"}]
    assert len(held) == 1


def test_the_conversation_is_sent_along_until_a_new_one_begins(page: Page) -> None:
    sent = answer_with(page, stream(says("Hello, "), says("Ada."), "[DONE]"))
    expect(ask(page, "I am Ada.")).to_have_text("Hello, Ada.")
    expect(ask(page, "Who am I?")).to_have_text("Hello, Ada.")
    assert [one["content"] for one in sent[1]["messages"]] == ["I am Ada.", "Hello, Ada.", "Who am I?"]
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="What can I do for you?")).to_be_visible()
    expect(page.locator("#messages li")).to_have_count(0)
    expect(page.get_by_label("Your message")).to_be_focused()
    ask(page, "Who am I?")
    finished(page)
    assert [one["content"] for one in sent[2]["messages"]] == ["Who am I?"]


def test_a_new_conversation_knows_nothing_of_an_answer_that_was_under_way(page: Page) -> None:
    answer = ask(page, LONG)
    expect(answer).to_have_text(re.compile(r"\S"), timeout=30_000)
    page.get_by_role("button", name="New conversation").click()
    finished(page)
    sent = answer_with(page, stream(says("Hello."), "[DONE]"))
    expect(ask(page, "Hello?")).to_have_text("Hello.")
    assert [one["content"] for one in sent[0]["messages"]] == ["Hello?"]
    expect(page.locator("#messages li")).to_have_count(2)


def test_the_page_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    expect(page.get_by_label("Your message")).to_be_focused()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.keyboard.type("What is")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("6 * 7?")
    assert page.get_by_label("Your message").input_value() == "What is\n6 * 7?"
    assert answers(page).count() == 0
    page.keyboard.press("Enter")
    expect(answers(page).first).to_contain_text(re.compile("42|\\w"))
    finished(page)
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="New conversation")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your message")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="What time is it?")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(answers(page).first).to_contain_text("391")
    expect(page.get_by_label("Your message")).to_be_focused()


def test_a_long_answer_is_followed_to_its_end_unless_its_reader_has_scrolled_up(page: Page) -> None:
    lines = [says(f"line {number}\n") for number in range(100)]
    answer_with(page, stream(*lines, says("the end"), "[DONE]"))
    expect(ask(page, "Tell me a long story.")).to_contain_text("the end")
    finished(page)
    conversation = page.locator("main")
    assert conversation.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") < 2
    page.unroute("**/api/chat")
    answer = ask(page, LONG)
    expect(answer).to_have_text(re.compile(r"\S"), timeout=30_000)
    conversation.hover()
    page.mouse.wheel(0, -600)
    expect(conversation).not_to_have_js_property("scrollTop", 0)
    before = answer.inner_text()
    expect(answer).not_to_have_text(before)
    assert conversation.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") > 200
    page.get_by_role("button", name="Stop").click()


def test_markup_in_an_answer_is_shown_as_text(page: Page) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    tool = {"choices": [], "hearth": {"tools": ["<b>calculator</b>"]}}
    answer_with(page, stream(says(evil), tool, "[DONE]"))
    answer = ask(page, evil)
    expect(answer).to_contain_text(evil)
    expect(answer).to_contain_text("answered by <b>calculator</b>")
    expect(page.locator("#messages li[data-role=user]")).to_have_text(evil)
    assert page.locator("#messages").locator("img, script, b").count() == 0
    assert page.title() == "Hearth"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param(
            json.dumps({"error": {"message": "moe_gateway is not healthy"}}).encode(),
            503,
            "moe_gateway is not healthy",
            id="refused",
        ),
        pytest.param(b"oops", 502, "The agent answered 502.", id="no JSON"),
        pytest.param(
            stream(says("Once"), {"error": {"message": "The model fell silent."}}),
            200,
            "The model fell silent.",
            id="failed in mid-answer",
        ),
        pytest.param(stream(says("Once")), 200, "The answer was cut off.", id="cut off"),
        pytest.param(stream("[DONE]"), 200, "The answer is empty.", id="empty"),
    ],
)
def test_a_problem_is_told_and_the_question_can_be_asked_again(
    watched: Watched, body: bytes, status: int, said: str
) -> None:
    page = watched.page
    answer_with(page, body, status)
    ask(page, "What is 17 * 23?")
    problem = page.locator("#messages li[data-role=problem]")
    expect(problem).to_contain_text(said)
    finished(page)
    page.unroute("**/api/chat")
    page.get_by_role("button", name="Try again").click()
    expect(answers(page).last).to_contain_text("391")
    expect(problem).to_have_count(0)
    expect(page.locator("#messages li[data-role=user]")).to_have_count(1)


def test_an_agent_that_is_away_is_told_and_comes_back_by_itself(watched: Watched) -> None:
    page = watched.page
    expect(page.locator("#light")).to_have_attribute("data-state", "ok")
    for path in ("**/api/chat", "**/health"):
        page.route(path, lambda route: route.abort("connectionrefused"))
    ask(page, "What is 17 * 23?")
    expect(page.locator("#messages li[data-role=problem]")).to_contain_text("The agent cannot be reached.")
    expect(page.locator("#state")).to_contain_text("not reachable", timeout=8_000)
    expect(page.locator("#light")).to_have_attribute("data-state", "bad")
    for path in ("**/api/chat", "**/health"):
        page.unroute(path)
    page.get_by_role("button", name="Try again").click()
    expect(answers(page).last).to_contain_text("391")
    expect(page.locator("#light")).to_have_attribute("data-state", "ok")


def test_what_is_spoken_appears_and_belongs_to_the_conversation(page: Page, running_house: House) -> None:
    expect(page.locator("#light")).to_have_attribute("data-state", "ok")
    posted = page.request.post(f"{running_house.agent}/api/messages", data={"text": "what is 20 + 22"})
    assert posted.status == 202
    expect(answers(page)).to_have_text(["42"])
    sent = answer_with(page, stream(says("Yes."), "[DONE]"))
    expect(ask(page, "Are you sure?")).to_have_text("Yes.")
    assert [one["content"] for one in sent[0]["messages"]] == ["42", "Are you sure?"]


def test_the_built_in_model_is_called_a_toy(page: Page) -> None:
    expect(page.locator("#toy")).to_contain_text("smollm2-135m-instruct is a toy")
    expect(page.locator("#state-text")).to_have_text("smollm2-135m-instruct")


def test_a_real_model_is_not_called_a_toy(page: Page) -> None:
    health = {"checks": {}, "model": "a-real-one", "built_in_model": False}
    page.route("**/health", lambda route: route.fulfill(json=health))
    page.reload()
    expect(page.locator("#state-text")).to_have_text("a-real-one")
    expect(page.locator("#toy")).to_be_hidden()


@pytest.mark.parametrize(
    "watched", [{"viewport": {"width": 390, "height": 800}}], indirect=True, ids=["390 px"]
)
def test_nothing_sticks_out_of_a_narrow_window(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    answer_with(page, stream(says("a" * 300 + " " + "https://example.org/" + "b" * 200), "[DONE]"))
    for question in ("c" * 300, "Short."):
        ask(page, question)
        finished(page)
        fits = "document.documentElement.scrollWidth <= innerWidth && "
        fits += (
            "[...document.querySelectorAll('main, header, form')].every(e => e.scrollWidth <= e.clientWidth)"
        )
        assert page.evaluate(fits)
    for name in ("New conversation", "Send"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    page.screenshot(path=tmp_path / "narrow.png")


@pytest.mark.parametrize("watched", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True)
def test_text_can_be_read_in_light_and_in_dark(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    expect(page.locator("#toy")).to_be_visible()
    page.screenshot(path=tmp_path / "welcome.png")
    expect(ask(page, "What is 17 * 23?")).to_contain_text("391")
    answer_with(page, json.dumps({"error": {"message": "The model is asleep."}}).encode(), 503)
    ask(page, "Tell me about fireplaces.")
    expect(page.locator("#messages li[data-role=problem]")).to_be_visible()
    page.screenshot(path=tmp_path / "conversation.png")
    for selector in ("[data-role=user]", "[data-role=assistant]", "[data-role=problem]", ".by", "#send"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG 2.2, AA


def contrast(page: Page, selector: str) -> float:
    """Contrast ratio of an element's text, by the formula of WCAG 2.2."""
    ratio: float = page.locator(selector).first.evaluate(
        """element => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          let behind = element;
          while (parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
          const light = (text) => {
            const [r, g, b] = parse(text).map((v) => v / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
          return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }"""
    )
    return ratio
