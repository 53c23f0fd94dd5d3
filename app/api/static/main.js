// Puts the page together: what is asked for, who shows it, and what stands there while nobody answers.

import { showCache } from "./cache.js";
import { address, get } from "./calls.js";
import { byId, say } from "./elements.js";
import { counted, duration } from "./figures.js";
import { Registry } from "./workers.js";
import { Playground } from "./playground.js";
import { showTraffic } from "./traffic.js";
import { watch } from "./watch.js";

const EVERY_MS = 2000;

const playground = new Playground();
const registry = new Registry({ changed: () => askNow() });
let shownAt = null;

byId("api").href = address("docs");

const askNow = watch({ everyMs: EVERY_MS, ask, show, lose });

async function ask() {
  const [stats, workers, cache] = await Promise.all(["admin/stats", "admin/workers", "admin/cache"].map(get));
  return { stats, workers, cache };
}

function show({ stats, workers, cache }) {
  if (!byId("lost").hidden && shownAt) say(byId("news"), "The gateway answers again.");
  shownAt = new Date();
  byId("lost").hidden = true;
  document.body.classList.remove("stale");
  say(byId("version"), stats.version);
  say(byId("uptime"), `Version ${stats.version}, up for ${duration(stats.uptime_s)}. This page asks every ${EVERY_MS / 1000} s.`);
  summarize(stats, workers.workers);
  showTraffic(stats);
  registry.show(workers);
  showCache(cache);
  playground.know(stats);
}

/** The state of all, in one sentence. */
function summarize(stats, workers) {
  const usable = workers.filter((worker) => worker.state === "usable").length;
  const state = stats.is_draining || !usable ? "failing" : usable < workers.length ? "trying" : "usable";
  const registryText = !workers.length
    ? "No workers are known"
    : usable === workers.length
      ? `${workers.length === 1 ? "The worker is" : `All ${workers.length} workers are`} usable`
      : `${usable} of ${counted(workers.length, "worker")} are usable`;
  byId("summary").querySelector(".mark").dataset.state = state;
  say(byId("summary").lastElementChild, stats.is_draining ? `This replica is shutting down. ${registryText}.` : `${registryText}.`);
}

function lose(error) {
  const since = shownAt ? ` What is shown is from ${shownAt.toLocaleTimeString("en-GB")}.` : "";
  const next = error.status === 401 ? "Reload the page to be asked for it." : "The page goes on asking.";
  say(byId("lost"), `${error.message}${since} ${next}`);
  byId("lost").hidden = false;
  document.body.classList.add("stale");
}
