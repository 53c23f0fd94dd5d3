// An answer: the documents by rank, each with its score as a bar, and what the headers tell about the request.

import { textOf } from "./documents.js";
import { byId, copyOf, describe, element, field, say } from "./elements.js";
import { counted, duration, score } from "./figures.js";

// A longer text is folded: the ranking is what is looked for.
const FOLD_CHARS = 320;

const ADVICE = {
  401: "Enter one of the gateway’s API keys above.",
  429: "The gateway has as much work as it can finish in time.",
  503: "The list of workers above says which workers can’t be used, and why.",
};

export function showRanking(documents, { answer, hits, spent, roundTripS, requestId, degraded }) {
  const { results, model, usage, meta } = answer;
  const different = new Set(documents.map(textOf)).size;
  const scale = scaleOf(results.map((result) => result.relevance_score));
  const items = results.map((result, place) =>
    item(result, place, { document: documents[result.index], scale, isHit: hits >= different }),
  );
  byId("ranking").replaceChildren(...items);
  say(byId("answer-summary"), `${counted(results.length, "document")} ranked by ${model} in ${duration(spent.total ?? roundTripS)}.`);
  remark([
    ...(degraded ? [`Degraded: these scores are of the ${degraded} fallback, not of the model.`] : []),
    ...(meta?.warnings ?? []),
  ]);
  describe(byId("timings"), [
    ["From the cache", `${hits} of ${different}${different < documents.length ? " different" : ""}`],
    ["Cache", spent.cache === undefined ? null : duration(spent.cache)],
    ["Workers", spent.workers === undefined ? null : duration(spent.workers)],
    ["Gateway in all", spent.total === undefined ? null : duration(spent.total)],
    ["Seen from here", duration(roundTripS)],
    ["Tokens", usage ? String(usage.total_tokens) : null],
    ["Request id", requestId],
  ]);
  byId("timings").hidden = false;
  byId("answer-error").hidden = true;
}

export function showError(error) {
  clear();
  const place = byId("answer-error");
  place.replaceChildren(element("strong", "", error.status ? `${error.status} ${error.type}` : "No answer"));
  place.append(element("p", "said", error.message));
  const hints = [];
  if (error.param) hints.push(`At fault: ${error.param}.`);
  if (ADVICE[error.status]) hints.push(ADVICE[error.status]);
  if (error.retryAfter) hints.push(`Try again in ${error.retryAfter} s.`);
  if (error.requestId) hints.push(`The gateway’s log has it under request id ${error.requestId}.`);
  place.append(...hints.map((hint) => element("p", "hint", hint)));
  place.hidden = false;
  say(byId("answer-summary"), "");
}

export function showWaiting(text) {
  clear();
  say(byId("answer-summary"), text);
}

function clear() {
  byId("ranking").replaceChildren();
  byId("answer-error").hidden = byId("timings").hidden = true;
  remark([]);
}

function remark(texts) {
  byId("answer-notes").hidden = !texts.length;
  byId("answer-notes").replaceChildren(...texts.map((text) => element("li", "", text)));
}

function item({ index, relevance_score: value }, place, { document, scale, isHit }) {
  const made = copyOf("ranked");
  say(made.querySelector(".place"), String(place + 1));
  made.querySelector(".text").replaceWith(folded(textOf(document)));
  made.querySelector(".bar > span").style.setProperty("--share", scale(value));
  say(field(made, "score"), score(value));
  field(made, "score").title = String(value);
  say(field(made, "index"), `document ${index}`);
  made.querySelector(".hit").hidden = !isHit;
  return made;
}

function folded(text) {
  if (text.length <= FOLD_CHARS) return element("p", "text", text);
  const made = element("details", "text");
  made.append(element("summary", "", `${text.slice(0, FOLD_CHARS).trimEnd()}…`), element("p", "", text));
  return made;
}

/** Probabilities by what they are; anything else between the lowest and the highest. */
function scaleOf(scores) {
  if (scores.every((value) => value >= 0 && value <= 1)) return (value) => value;
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  return (value) => (highest > lowest ? (value - lowest) / (highest - lowest) : 1);
}
