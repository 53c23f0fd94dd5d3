// Asks again and again while somebody looks, and tells when there is no answer.

/**
 * @param everyMs pause between an answer and the next question
 * @param ask     gives a promise of what is shown
 * @param show    is given each answer
 * @param lose    is given the error of each question that had none
 * @returns a function that asks at once
 */
export function watch({ everyMs, ask, show, lose }) {
  let timer = 0;
  let isAsking = false;

  async function turn() {
    clearTimeout(timer);
    if (isAsking || document.hidden) return;
    isAsking = true;
    try {
      const [answer, error] = await ask().then((given) => [given], (reason) => [null, reason]);
      if (error) lose(error);
      else show(answer);
    } finally {
      isAsking = false;
      timer = setTimeout(turn, everyMs);
    }
  }

  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}
