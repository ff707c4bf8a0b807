// The plain chat page. Text from the model is only ever set as text, never as markup.

const find = (id) => document.getElementById(id);
const [messages, text, send, fresh, welcome] = ["messages", "text", "send", "fresh", "welcome"].map(find);

let conversation = [];
let running = null;

function show(role, content = "") {
  const item = document.createElement("li");
  item.dataset.role = role;
  item.textContent = content;
  messages.append(item);
  follow(true);
  return item;
}

function follow(always) {
  const page = document.querySelector("main");
  const near = page.scrollHeight - page.scrollTop - page.clientHeight < 160;
  if (always || near) page.scrollTop = page.scrollHeight;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      const data = part.slice(6);
      if (data !== "[DONE]") yield JSON.parse(data);
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

async function ask() {
  const answer = show("assistant");
  running = new AbortController();
  busy(true);
  let said = "";
  let tools = [];
  try {
    const response = await fetch("/api/chat", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages: conversation }),
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
    if (tools.length) credit(answer, tools);
  } catch (problem) {
    if (!said) answer.remove();
    if (problem.name !== "AbortError") {
      const stopped = problem instanceof TypeError ? "The agent cannot be reached." : problem.message;
      offerRetry(show("problem", stopped));
      return;
    }
  } finally {
    busy(false);
  }
  // What was said before Stop is part of the conversation; a question without any answer is not.
  if (said) conversation.push({ role: "assistant", content: said });
  else conversation.pop();
}

function credit(answer, tools) {
  const by = document.createElement("span");
  by.className = "by";
  by.textContent = `answered by ${[...new Set(tools)].join(", ")}`;
  answer.append(by);
  follow(false);
}

function offerRetry(item) {
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => {
    item.remove();
    ask();
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
  if (conversation.at(-1)?.role === "user") conversation.pop();
  conversation.push({ role: "user", content: content.trim() });
  show("user", content.trim());
  text.value = "";
  sendable();
  welcome.hidden = true;
  fresh.hidden = false;
  ask();
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
setInterval(look, 5000);
