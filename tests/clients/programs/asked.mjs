// What a client's program is asked, and how it answers: one JSON document in, one out, as in asked.py.

import { readFileSync, writeSync } from 'node:fs'

// Do what standard input asks of one of the programs, and print a ranking or an error's text for each.
export async function answer(programs) {
  const order = JSON.parse(readFileSync(0, 'utf8'))
  // Whatever clients print goes where their logs go.
  console.log = console.info = console.warn = console.error
  const answers = []
  for (const asked of order.asked) {
    try {
      answers.push({ ranking: await programs[order.program](asked) })
    } catch (error) {
      answers.push({ error: textOf(error) })
    }
  }
  let rest = Buffer.from(JSON.stringify(answers))
  while (rest.length) rest = rest.subarray(writeSync(1, rest))
  process.exit(0)
}

export const scored = (found) => found.map((one) => [one.index, one.relevanceScore])

function textOf(error) {
  const own = `${error?.name}: ${error?.message} ${error?.responseBody ?? ''} ${JSON.stringify(error?.body ?? '')}`
  return error?.cause ? `${own} <- ${textOf(error.cause)}` : own
}
