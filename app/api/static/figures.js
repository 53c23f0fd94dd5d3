// Numbers as people read them.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export const count = (value) => whole.format(value);

export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** As many digits as say something. */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return String(value >= 100 ? count(value) : Number(value.toFixed(value >= 1 ? 1 : 2)));
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${share < 0.1 ? Number((100 * share).toFixed(1)) : Math.round(100 * share)} %`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0.01) return `${Number((1000 * seconds).toFixed(seconds < 0.001 ? 2 : 1))} ms`;
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  return seconds < 1 ? "now" : `${duration(Math.floor(seconds))} ago`;
}

export function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(value >= 100 ? 0 : 1))} ${UNITS[unit]}`;
}

/** A score: four places tell most documents apart, and a tiny one isn't shown as nothing. */
export const score = (value) =>
  value !== 0 && Math.abs(value) < 0.0001 ? value.toExponential(1) : value.toFixed(4);
