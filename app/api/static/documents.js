// What was typed or pasted, as a list of documents.

import { counted } from "./figures.js";

/**
 * A JSON list, or else one document per line.
 *
 * @returns `documents` as they are sent, and `read`: how the text was understood
 */
export function read(text) {
  const trimmed = text.trim();
  const lines = trimmed.split("\n").map((line) => line.trim()).filter(Boolean);
  const asLines = { documents: lines, read: `${counted(lines.length, "document")}, one per line` };
  if (!trimmed.startsWith("[")) return asLines;
  try {
    const documents = JSON.parse(trimmed);
    return { documents, read: `${counted(documents.length, "document")} from a JSON list` };
  } catch (error) {
    return { ...asLines, read: `${asLines.read}: it begins like a JSON list but isn’t one (${error.message})` };
  }
}

/** The text of a document, as it is shown. */
export function textOf(document) {
  if (typeof document === "string") return document;
  return typeof document?.text === "string" ? document.text : JSON.stringify(document);
}
