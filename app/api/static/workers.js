// The table of workers. Rows stay while they are brought up to date: who is on a button stays there.

import { counted, count, duration, ago } from "./figures.js";
import { copyOf, byId, element, field, say } from "./elements.js";
import { drain, undrain } from "./drain.js";

const STATES = {
  usable: "Usable",
  not_ready: "Not ready",
  drained: "Drained",
  failing: "Failing",
  trying: "Being tried",
};
const KINDS = {
  cross_encoder: "a cross-encoder",
  template: "behind a template",
  bi_encoder: "a bi-encoder",
  late_interaction: "by late interaction",
  listwise: "listwise",
};
const BREAKERS = { closed: "closed", open: "open", half_open: "half open" };
// Below this nobody would call it slower than usual.
const SLOW = 1.2;

export class Registry {
  #rows = new Map();
  #changed;

  /** @param changed is called when a worker was drained or undrained here */
  constructor({ changed }) {
    this.#changed = changed;
  }

  show({ workers, sources }) {
    const names = new Set(workers.map(({ name }) => name));
    for (const [name, row] of this.#rows) {
      if (!names.has(name)) this.#forget(name, row);
    }
    workers.forEach((worker, place) => this.#place(worker, place));
    const usable = workers.filter(({ state }) => state === "usable").length;
    say(byId("registry-count"), workers.length ? `${usable} of ${count(workers.length)} usable` : "");
    byId("no-workers").hidden = workers.length > 0;
    showSources(sources);
  }

  #place(worker, place) {
    let row = this.#rows.get(worker.name);
    if (!row) {
      row = copyOf("worker-row");
      row.querySelector("button").addEventListener("click", () => this.#act(worker.name, row));
      this.#rows.set(worker.name, row);
    }
    const there = byId("workers").children[place];
    if (there !== row) byId("workers").insertBefore(row, there ?? null);
    fill(row, worker);
  }

  #forget(name, row) {
    this.#rows.delete(name);
    row.remove();
    announce(`${name} is gone`);
  }

  async #act(name, row) {
    const button = row.querySelector("button");
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    byId("registry-error").hidden = true;
    try {
      const act = row.dataset.drained === "true" ? undrain : drain;
      const worker = await act(name);
      if (worker) fill(row, worker);
    } catch (error) {
      say(byId("registry-error"), error.message);
      byId("registry-error").hidden = false;
    } finally {
      button.ariaBusy = "false";
      this.#changed();
    }
  }
}

function fill(row, worker) {
  if (row.dataset.state && row.dataset.state !== worker.state) {
    announce(`${worker.name}: ${STATES[worker.state] ?? worker.state}${worker.problem ? `, ${worker.problem}` : ""}`);
  }
  row.dataset.state = worker.state;
  row.dataset.drained = worker.is_drained;
  row.querySelector(".mark").dataset.state = worker.state;
  const limit = worker.limit_documents;
  const texts = {
    name: worker.name,
    models: worker.models.map(model).join("; ") || "no model seen yet",
    state: STATES[worker.state] ?? worker.state,
    problem: problems(worker),
    documents: `${count(worker.documents)} of ${count(limit)}`,
    calls: `documents, ${worker.calls ? counted(worker.calls, "call") : "no calls"}`,
    latency: duration(worker.latency_s),
    slowness: pace(worker.slowness),
    breaker: BREAKERS[worker.breaker] ?? worker.breaker,
    success: ago(worker.last_success_s),
  };
  for (const [name, text] of Object.entries(texts)) say(field(row, name), text);
  row.querySelector(".load > span").style.setProperty("--share", Math.min(1, worker.documents / Math.max(1, limit)));
  const button = row.querySelector("button");
  const verb = worker.is_drained ? "Undrain" : "Drain";
  say(button, verb);
  button.ariaLabel = `${verb} ${worker.name}`;
}

const model = ({ model: name, max_model_len: length, version, check, profile }) =>
  `${name}, ${count(length)} tokens${version ? `, vLLM ${version}` : ""}${check === "passed" ? `, ${KINDS[profile.kind]}` : ""}`;

function problems({ problem, backs_off_s: backsOff, next_probe_s: next, state, models }) {
  const told = problem ? [problem] : [];
  for (const { model: name, suspicion } of models) {
    if (suspicion) told.push(`${name} seems to be served wrongly: ${suspicion.seen}, likeliest for ${suspicion.cause}; ${suspicion.fix}`);
  }
  if (backsOff > 0) told.push(`backs off for ${duration(Math.ceil(backsOff))}`);
  if (state !== "usable" && next !== null && next > 0) told.push(`next probe in ${duration(Math.ceil(next))}`);
  return told.join("; ");
}

function pace(slowness) {
  if (slowness === null || slowness === undefined) return "";
  return slowness >= SLOW ? `${slowness.toFixed(1)} × the usual` : "as usual";
}

function showSources(sources) {
  const told = sources.filter(({ problem }) => problem).map(({ name, problem }) => `${name}: ${problem}`);
  const list = byId("sources");
  list.hidden = !told.length;
  if ([...list.children].map((item) => item.textContent).join("\n") === told.join("\n")) return;
  list.replaceChildren(...told.map((text) => element("li", "", text)));
}

const announce = (text) => say(byId("news"), `${text}.`);
