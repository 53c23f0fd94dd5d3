// One call, written for a shell, for Python and for Milvus. The API key itself is never written down.

const ORIGIN_HINT = "an address that Milvus’s proxy can reach";

/**
 * @param call `gateway` (a URL that ends with a slash), `body`, `cache` (default, no-cache, no-store) and `needsKey`
 */
export const SNIPPETS = { curl, python, milvus };

function curl({ gateway, body, cache, needsKey }) {
  const lines = [`curl ${quoted(`${gateway}rerank`)}`, `-H 'Content-Type: application/json'`];
  if (cache !== "default") lines.push(`-H 'X-Rerank-Cache: ${cache}'`);
  if (needsKey) lines.push(`-H "Authorization: Bearer $API_KEY"`);
  lines.push(`-d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ");
}

function python({ gateway, body, cache, needsKey }) {
  const headers = [];
  if (cache !== "default") headers.push(`"X-Rerank-Cache": ${literal(cache)}`);
  if (needsKey) headers.push(`"Authorization": f"Bearer {os.environ['API_KEY']}"`);
  return `${needsKey ? "import os\n\n" : ""}import httpx

response = httpx.post(
    ${literal(`${gateway}rerank`)},
${headers.length ? `    headers={${headers.join(", ")}},\n` : ""}    json=${literal(body, 1)},
    timeout=30,
)
response.raise_for_status()
for result in response.json()["results"]:
    print(result["index"], result["relevance_score"])`;
}

function milvus({ gateway, body, cache, needsKey }) {
  const options = new URLSearchParams();
  if (body.model) options.set("model", body.model);
  if (cache !== "default") options.set("cache", cache);
  const { protocol, host } = new URL(gateway);
  const query = options.size ? `?${options}` : "";
  const endpoint = needsKey
    ? `${literal(`${protocol}//any:`)} + quote(os.environ["API_KEY"], safe="") + ${literal(`@${host}${query}`)}`
    : literal(`${protocol}//${host}${query}`);
  return `${needsKey ? "import os\nfrom urllib.parse import quote\n\n" : ""}from pymilvus import Function, FunctionType

# The documents are those that a search finds, from the text field named here;
# the search's limit takes the place of top_n${body.top_n ? ` (limit=${body.top_n})` : ""}.
ranker = Function(
    name="rerank",
    input_field_names=["document"],
    function_type=FunctionType.RERANK,
    params={
        "reranker": "model",
        "provider": "vllm",
        "endpoint": ${endpoint},  # ${ORIGIN_HINT}
        "queries": [${literal(body.query)}],
        "max_client_batch_size": 1000,
    },
)`;
}

/** For a POSIX shell: nothing has a meaning between single quotes, but for the single quote. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** As Python writes it. A string of JSON is one of Python, with the same meaning. */
function literal(value, depth = 0) {
  if (value === null || typeof value === "boolean") return { null: "None", true: "True", false: "False" }[value];
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, depth + 1))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${literal(item, depth + 1)}`);
  if (!items.length) return open + close;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${indent}${item},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
