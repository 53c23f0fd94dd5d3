// Where scores came from, and how much is remembered.

import { byId, describe, element, say } from "./elements.js";
import { bytes, count, duration, percent } from "./figures.js";

const ORIGINS = {
  memory: "this replica’s memory",
  redis: "Redis",
  coalesced: "under way for another request",
  duplicate: "a duplicate in the request",
  worker: "scored by a worker",
  fallback: "scored lexically",
};

export function showCache(cache) {
  showOrigins(cache.documents);
  const { pairs, bytes: size, max_bytes: room, ttl_s: ttl, evictions, redis } = cache;
  describe(byId("cache-figures"), [
    ["Cache", cache.enabled ? "on" : "off"],
    ["Pairs remembered", count(pairs)],
    ["Memory", `${bytes(size)} of ${bytes(room)}`],
    ["Kept for", duration(ttl)],
    ["Evicted", count(evictions)],
    ["Shared with replicas", redis ? `${redis.usable ? "yes" : "not reachable"}: ${redis.url}` : "no"],
  ]);
}

function showOrigins(documents) {
  // In this order, and what has no words here at the end.
  const origins = [...new Set([...Object.keys(ORIGINS), ...Object.keys(documents)])].filter((name) => documents[name]);
  const all = origins.reduce((sum, name) => sum + documents[name], 0);
  const place = byId("cache-origins");
  if (place.dataset.names !== origins.join()) {
    place.dataset.names = origins.join();
    place.replaceChildren(strip(origins), legend(origins));
  }
  origins.forEach((name, index) => {
    place.querySelector(".strip").children[index].style.setProperty("--share", documents[name]);
    const row = place.querySelector("ul").children[index];
    say(row.querySelector("b"), count(documents[name]));
    say(row.querySelector(".part"), percent(documents[name] / all));
  });
}

function strip(origins) {
  const made = element("div", "strip");
  made.setAttribute("aria-hidden", "true");
  made.append(...origins.map((name) => element("span", `origin ${name}`)));
  return made;
}

function legend(origins) {
  const made = element("ul", "legend");
  for (const name of origins) {
    const row = element("li");
    const swatch = element("span", `swatch origin ${name}`);
    swatch.setAttribute("aria-hidden", "true");
    row.append(swatch, element("span", "", ORIGINS[name] ?? name), element("b"), element("span", "part quiet"));
    made.append(row);
  }
  return made;
}
