"""The page's script: decisions by key or button, kept by the browser, saved to a file and loaded.

It comes after the script of reports, whose filters it uses.
"""

JAVASCRIPT = """
const list = document.getElementById("candidates");
const cards = Array.from(list.children);
const store = "audit-labels-" + list.dataset.annotations;
const known = new Set(cards.map(card => card.dataset.id));
let decisions = Object.create(null);
function keep() {
  // A browser may allow pages from files nothing to keep.
  try { localStorage.setItem(store, JSON.stringify(decisions)); } catch (error) { return; }
}
function take(found) {
  if (found === null || typeof found !== "object") return 0;
  let count = 0;
  for (const [id, decision] of Object.entries(found)) {
    if (known.has(id) && (decision === "accept" || decision === "reject")) {
      decisions[id] = decision;
      count += 1;
    }
  }
  return count;
}
function show() {
  let accepted = 0, rejected = 0;
  for (const card of cards) {
    const decision = decisions[card.dataset.id] || "open";
    card.dataset.decision = decision;
    accepted += decision === "accept";
    rejected += decision === "reject";
    for (const button of card.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
    }
  }
  document.getElementById("counts").textContent = accepted + " accepted, " + rejected
    + " rejected, " + (cards.length - accepted - rejected) + " open";
}
function refilter() {
  for (const control of document.querySelectorAll(".controls select")) {
    control.dispatchEvent(new Event("input"));
    break;
  }
}
function decide(card, decision) {
  const id = card.dataset.id;
  if (decision === "open") delete decisions[id];
  else decisions[id] = decision;
  keep();
  show();
}
let current = null;
function select(card) {
  if (current) current.removeAttribute("aria-current");
  current = card;
  if (!card) return;
  card.setAttribute("aria-current", "true");
  card.scrollIntoView({block: "nearest"});
  card.focus({preventScroll: true});
}
function move(step) {
  const shown = cards.filter(card => !card.hidden);
  if (!shown.length) return select(null);
  const place = shown.indexOf(current);
  if (place < 0) return select(shown[step > 0 ? 0 : shown.length - 1]);
  select(shown[Math.min(Math.max(place + step, 0), shown.length - 1)]);
}
list.addEventListener("click", event => {
  const card = event.target.closest(".card");
  if (!card) return;
  select(card);
  const button = event.target.closest("button");
  if (button) {
    const wanted = button.dataset.decision;
    decide(card, card.dataset.decision === wanted ? "open" : wanted);
    refilter();
  }
});
const keys = {a: "accept", r: "reject", u: "open"};
const steps = {j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  if (event.key in steps) {
    move(steps[event.key]);
  } else if (event.key in keys) {
    if (!current || current.hidden) return move(1);
    const card = current;
    decide(card, keys[event.key]);
    if (keys[event.key] !== "open") move(1);
    refilter();
    if (current.hidden) move(1);
  } else {
    return;
  }
  event.preventDefault();
});
document.getElementById("save").addEventListener("click", () => {
  const content = {annotations: list.dataset.annotations, decisions: decisions};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\\n"],
    {type: "application/json"}));
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
document.getElementById("load").addEventListener("change", async event => {
  const message = document.getElementById("message");
  const file = event.target.files[0];
  if (!file) return;
  try {
    const content = JSON.parse(await file.text());
    if (content.annotations !== list.dataset.annotations) {
      message.textContent = "These decisions are about other annotations.";
    } else {
      message.textContent = take(content.decisions) + " decisions loaded.";
      keep();
      show();
      refilter();
    }
  } catch (error) {
    message.textContent = "This is no file of decisions.";
  }
  event.target.value = "";
});
try { take(JSON.parse(localStorage.getItem(store))); } catch (error) { decisions = {}; }
document.getElementById("actions").hidden = false;
show();
"""
