// Sends the requests that standard input lists, one after another, and prints the status of each answer, or the error.
import { readFileSync } from "node:fs";

const PIECE = 2 ** 18;

function inPieces(size) {
  let left = size;
  return new ReadableStream({
    pull(controller) {
      const piece = Math.min(PIECE, left);
      left -= piece;
      if (piece) controller.enqueue(new Uint8Array(piece));
      else controller.close();
    },
  });
}

for (const { url, headers, size, is_chunked: isChunked } of JSON.parse(readFileSync(0))) {
  try {
    const body = isChunked ? inPieces(size) : new Uint8Array(size);
    const answer = await fetch(url, { method: "POST", headers, body, duplex: "half" });
    await answer.arrayBuffer();
    console.log(answer.status);
  } catch (error) {
    console.log(`${error} ${error.cause}`);
  }
}
