// Lines over the last minutes, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 64;
const SPAN_S = 300;
// A line along the very edge would be cut in half.
const MARGIN = 2;

/**
 * Draws into a figure, over what it showed before.
 *
 * @param figure the element that has the chart
 * @param lines  each with a `tone` (its CSS class) and `points` of [seconds ago, value or null], oldest first
 * @param top    the value at the upper edge; by default a round number above all values
 * @param label  gives the text of a value at the edge
 * @param alternative what the chart shows, in words
 */
export function draw(figure, lines, { top, label, alternative }) {
  const plot = figure.querySelector(".plot") ?? figure.appendChild(frame());
  const edge = top ?? roundAbove(Math.max(0, ...lines.flatMap(({ points }) => points.map(([, value]) => value ?? 0))));
  const svg = plot.querySelector("svg");
  svg.setAttribute("aria-label", alternative);
  svg.replaceChildren(...lines.flatMap(({ tone, points }, place) => shapes(tone, runs(points, edge), place === 0)));
  plot.querySelector(".edge").textContent = label(edge);
}

function frame() {
  const plot = document.createElement("div");
  plot.className = "plot";
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const axis = ["edge", "past", "now"].map((name) => {
    const text = document.createElement("span");
    text.className = name;
    text.setAttribute("aria-hidden", "true");
    return text;
  });
  axis[1].textContent = "5 min ago";
  axis[2].textContent = "now";
  plot.append(svg, ...axis);
  return plot;
}

/** Lists of [x, y]: a value that is missing ends one, so that the line has a gap there. */
function runs(points, edge) {
  const found = [[]];
  for (const [agoS, value] of points) {
    if (value === null) found.push([]);
    else if (agoS <= SPAN_S) found.at(-1).push([WIDTH * (1 - agoS / SPAN_S), height(value, edge)]);
  }
  return found.filter((run) => run.length);
}

const height = (value, edge) => HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * Math.min(1, value / edge);

function shapes(tone, found, isFilled) {
  return found.flatMap((run) => {
    // A single point is shown as a short stroke.
    const drawn = run.length > 1 ? run : [[run[0][0] - 2, run[0][1]], run[0]];
    const line = `M${drawn.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
    const area = `${line}V${HEIGHT}H${drawn[0][0].toFixed(1)}Z`;
    const filled = isFilled ? [shape("path", { class: `area ${tone}`, d: area })] : [];
    return [...filled, shape("path", { class: `line ${tone}`, d: line })];
  });
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The next of 1, 2, 5, 10, 20, … that isn't below; 1 for nothing at all. */
function roundAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((edge) => edge >= value * 0.999);
}
