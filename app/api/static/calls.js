// The one place that talks to the gateway.

const PATIENCE_MS = 5000;
const FOREIGN = "This answer isn’t the gateway’s: something between here and there sent it.";

/** Where the gateway is: one folder above this file's, whatever prefix an ingress puts in front. */
export const gateway = new URL("..", import.meta.url);
// A URL with credentials can't be fetched, and must not be shown.
gateway.username = gateway.password = "";

export const address = (path) => new URL(path, gateway).href;

/** The gateway refused, or (`status` 0) there was no answer. */
export class CallError extends Error {
  constructor(message, { status = 0, type = "", param = null, requestId = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, type, param, requestId, retryAfter });
  }
}

export async function get(path) {
  return content(await call(path, { signal: AbortSignal.timeout(PATIENCE_MS) }));
}

export async function post(path, body) {
  return content(await call(path, { ...json(body), signal: AbortSignal.timeout(PATIENCE_MS) }));
}

/** One ranking: what the gateway answered, and what its headers say about it. */
export async function rerank(body, { cache, key, signal }) {
  const asked = json(body);
  if (cache !== "default") asked.headers["X-Rerank-Cache"] = cache;
  if (key) asked.headers.Authorization = `Bearer ${key}`;
  const began = performance.now();
  const response = await call("rerank", { ...asked, signal });
  const answer = await content(response);
  return {
    answer,
    hits: Number(response.headers.get("X-Rerank-Cache-Hits") ?? 0),
    spent: timings(response.headers.get("Server-Timing") ?? ""),
    roundTripS: (performance.now() - began) / 1000,
    requestId: response.headers.get("X-Request-ID"),
    degraded: response.headers.get("X-Rerank-Degraded"),
  };
}

function json(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(address(path), { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("The gateway doesn’t answer.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = {
    status: response.status,
    requestId: response.headers.get("X-Request-ID"),
    retryAfter: response.headers.get("Retry-After"),
  };
  const { error } = await content(response, told);
  return new CallError(error?.message ?? FOREIGN, { ...told, type: error?.type, param: error?.param });
}

async function content(response, told = { status: response.status }) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError(FOREIGN, told);
  }
}

/** Seconds by name, as `Server-Timing` gives them in milliseconds. */
function timings(header) {
  const found = header.matchAll(/([\w-]+);dur=([\d.]+)/g);
  return Object.fromEntries([...found].map(([, name, dur]) => [name, Number(dur) / 1000]));
}
