// The plain chat page. Text from the model is only ever set as text, never as markup.

const find = (id) => document.getElementById(id);
const [messages, text, send, fresh, welcome] = ["messages", "text", "send", "fresh", "welcome"].map(find);

const HISTORY = 100; // messages sent along; the agent itself looks back less far

const page = document.querySelector("main");

let conversation = []; // what was asked and answered, without questions that got no answer
let running = null;
let atEnd = true; // whoever has scrolled up to read is left there

function show(role, content = "") {
  const item = document.createElement("li");
  item.dataset.role = role;
  item.textContent = content;
  messages.append(item);
  follow(true);
  return item;
}

function follow(always) {
  if (always || atEnd) page.scrollTop = page.scrollHeight;
}

page.addEventListener("scroll", () => {
  atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 40;
});

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer was cut off.");
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      const data = part.slice(6);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The agent answered ${response.status}.`;
  }
}

async function ask(question) {
  const asked = { role: "user", content: question };
  const begun = conversation; // "New conversation" begins another one
  const answer = show("assistant");
  running = new AbortController();
  busy(true);
  let said = "";
  let tools = [];
  try {
    const response = await fetch("/api/chat", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages: [...begun.slice(-HISTORY), asked] }),
      signal: running.signal,
    });
    if (!response.ok) throw new Error(await problemOf(response));
    for await (const event of events(response.body)) {
      if (event.error) throw new Error(event.error.message);
      tools = event.hearth?.tools ?? tools;
      said += event.choices?.[0]?.delta?.content ?? "";
      answer.textContent = said;
      follow(false);
    }
    if (!said) throw new Error("The answer is empty.");
    if (tools.length) credit(answer, tools);
  } catch (problem) {
    if (!said) answer.remove();
    if (problem.name !== "AbortError") {
      const stopped = problem instanceof TypeError ? "The agent cannot be reached." : problem.message;
      if (begun === conversation) offerRetry(show("problem", stopped), question);
      return;
    }
  } finally {
    busy(false);
  }
  // What was said before Stop is part of the conversation; a question without any answer is not.
  if (said) begun.push(asked, { role: "assistant", content: said });
}

function credit(answer, tools) {
  const by = document.createElement("span");
  by.className = "by";
  by.textContent = `answered by ${[...new Set(tools)].join(", ")}`;
  answer.append(by);
  follow(false);
}

function offerRetry(item, question) {
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => {
    item.remove();
    text.focus();
    ask(question);
  });
  item.append(again);
}

function busy(is) {
  if (!is) running = null;
  send.textContent = is ? "Stop" : "Send";
  send.setAttribute("aria-label", is ? "Stop" : "Send");
  sendable();
}

function sendable() {
  send.disabled = !running && !text.value.trim();
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function submit(content) {
  if (running || !content.trim()) return;
  for (const item of messages.querySelectorAll("[data-role=problem]")) item.remove();
  show("user", content.trim());
  text.value = "";
  sendable();
  welcome.hidden = true;
  fresh.hidden = false;
  text.focus();
  ask(content.trim());
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else submit(text.value);
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit(text.value);
  }
});
text.addEventListener("input", sendable);

find("examples").addEventListener("click", (event) => {
  if (event.target instanceof HTMLButtonElement) submit(event.target.textContent);
});

fresh.addEventListener("click", () => {
  running?.abort();
  conversation = [];
  messages.replaceChildren();
  welcome.hidden = false;
  fresh.hidden = true;
  text.focus();
});

async function look() {
  let state = "bad";
  let said = "not reachable";
  try {
    const response = await fetch("/health");
    const health = await response.json();
    state = response.ok ? "ok" : "bad";
    const wrong = Object.values(health.checks).find((check) => !check.ok);
    said = wrong ? wrong.detail : health.model;
    find("toy").hidden = !health.built_in_model;
    find("toy").querySelector("b").textContent = health.model;
  } catch {
    // The page outlives a restart of the agent; the light says so meanwhile.
  }
  find("light").dataset.state = state;
  find("state-text").textContent = said;
  find("state").title = said;
  setTimeout(look, state === "ok" ? 5000 : 1000);
}

// What the agent says without having been asked on this page is shown, and read aloud where that is possible.
new EventSource("/api/spoken").addEventListener("message", (event) => {
  const spoken = JSON.parse(event.data).text;
  welcome.hidden = true;
  fresh.hidden = false;
  show("assistant", spoken);
  conversation.push({ role: "assistant", content: spoken });
  window.speechSynthesis?.speak(new SpeechSynthesisUtterance(spoken));
});

sendable();
look();
