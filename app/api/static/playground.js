// A request of one's own: the form, its answer, and the same call to copy.

import { gateway, rerank } from "./calls.js";
import { read } from "./documents.js";
import { byId, say } from "./elements.js";
import { showError, showRanking, showWaiting } from "./ranking.js";
import { SNIPPETS } from "./snippets.js";

export class Playground {
  #form = byId("ask");
  #running = null;
  #needsKey = false;

  constructor() {
    this.#form.addEventListener("submit", (event) => this.#send(event));
    this.#form.addEventListener("input", () => this.#write());
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      // In a field of one line it would send the form a second time.
      event.preventDefault();
      this.#form.requestSubmit();
    });
    for (const choice of this.#tongues()) choice.addEventListener("change", () => this.#write());
    byId("copy").addEventListener("click", copy);
    this.#write();
  }

  /** Takes in what the gateway says of itself: its models, and whether it wants a key. */
  know({ models, needs_key: needsKey }) {
    const select = byId("model");
    const there = [...select.options].slice(1).map((option) => option.value);
    if (there.join("\n") !== models.join("\n")) {
      const chosen = select.value;
      select.replaceChildren(select.options[0], ...models.map((name) => new Option(name)));
      select.value = models.includes(chosen) ? chosen : "";
      this.#write();
    }
    if (needsKey !== this.#needsKey) {
      this.#needsKey = needsKey;
      byId("key-field").hidden = !needsKey;
      this.#write();
    }
  }

  async #send(event) {
    event.preventDefault();
    if (this.#running) {
      this.#running.abort();
      return;
    }
    this.#running = new AbortController();
    say(byId("rank"), "Stop");
    showWaiting("Waiting for scores…");
    const { body, cache } = this.#call();
    try {
      const told = await rerank(body, { cache, key: byId("key").value, signal: this.#running.signal });
      showRanking(body.documents, told);
    } catch (error) {
      if (error.name === "AbortError") showWaiting("Stopped.");
      else showError(error);
    } finally {
      this.#running = null;
      say(byId("rank"), "Rank");
    }
  }

  #call() {
    const body = { query: byId("query").value, documents: read(byId("documents").value).documents };
    if (byId("model").value) body.model = byId("model").value;
    const wanted = byId("top-n").value;
    if (wanted !== "") body.top_n = Number(wanted);
    return { gateway: gateway.href, body, cache: byId("cache-use").value, needsKey: this.#needsKey };
  }

  #write() {
    say(byId("documents-read"), `${read(byId("documents").value).read}.`);
    const tongue = this.#tongues().find((choice) => choice.checked).value;
    say(byId("snippet"), SNIPPETS[tongue](this.#call()));
    say(byId("copied"), "");
  }

  #tongues() {
    return [...document.querySelectorAll('input[name="tongue"]')];
  }
}

async function copy() {
  const snippet = byId("snippet");
  try {
    await navigator.clipboard.writeText(snippet.textContent);
    say(byId("copied"), "Copied.");
  } catch {
    // Without TLS a browser gives no clipboard to pages from elsewhere.
    getSelection().selectAllChildren(snippet);
    say(byId("copied"), "Selected: press Ctrl + C to copy.");
  }
}
