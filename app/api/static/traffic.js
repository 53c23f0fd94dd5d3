// The four tiles: requests, errors, latency, cache hits. A number for now, a chart for the last minutes.

import { draw } from "./charts.js";
import { byId, field, say } from "./elements.js";
import { count, duration, percent, rate } from "./figures.js";

export function showTraffic({ points }) {
  const last = points.at(-1);
  if (!last) return;
  showRequests(points, last);
  showErrors(points, last);
  showLatency(points, last);
  showHits(points, last);
}

function showRequests(points, last) {
  const waiting = last.queued_documents ? `, ${count(last.queued_documents)} queued` : "";
  show("requests", rate(last.requests), `${rate(last.documents)} documents, ${count(last.pending_documents)} pending${waiting}`, {
    lines: [line(points, "requests", "accent")],
    label: rate,
    alternative: words("Requests per second", points, "requests", rate),
  });
}

function showErrors(points, last) {
  const highest = most(points, "errors") + most(points, "shed");
  const tile = show("errors", rate(last.errors), `${rate(last.shed)} shed per second${last.shed ? ", dashed" : ""}`, {
    lines: [line(points, "errors", "bad"), line(points, "shed", "second")],
    label: rate,
    alternative: `${words("Errors (5xx) per second", points, "errors", rate)}; ${words("shed (429)", points, "shed", rate)}`,
  });
  tile.classList.toggle("calm", highest === 0);
}

function showLatency(points, last) {
  show("latency", duration(last.p50_s), last.p99_s === null ? "no requests just now" : `p99 ${duration(last.p99_s)}, dashed`, {
    lines: [line(points, "p50_s", "accent"), line(points, "p99_s", "second")],
    label: duration,
    alternative: `${words("Median latency", points, "p50_s", duration)}; ${words("99th percentile", points, "p99_s", duration)}`,
  });
}

function showHits(points, last) {
  show("hits", percent(last.hit_ratio), last.hit_ratio === null ? "no documents just now" : "needed no worker", {
    lines: [line(points, "hit_ratio", "accent")],
    top: 1,
    label: percent,
    alternative: words("Share of documents that needed no worker", points, "hit_ratio", percent),
  });
}

function show(name, value, detail, { lines, ...chart }) {
  const tile = byId("traffic").querySelector(`[data-chart="${name}"]`);
  say(field(tile, "value"), value);
  say(field(tile, "detail"), detail);
  draw(tile, lines, chart);
  return tile;
}

const line = (points, name, tone) => ({ tone, points: points.map((point) => [point.ago_s, point[name]]) });

const most = (points, name) => Math.max(0, ...points.map((point) => point[name] ?? 0));

function words(what, points, name, text) {
  const known = points.map((point) => point[name]).filter((value) => value !== null);
  if (!known.length) return `${what}: nothing in the last 5 minutes`;
  return `${what}: ${text(points.at(-1)[name])} now, ${text(Math.min(...known))} to ${text(Math.max(...known))} in the last 5 minutes`;
}
