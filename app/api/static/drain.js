// Taking a worker out of work and back in. The last usable one is only drained once somebody has said yes to it.

import { CallError, post } from "./calls.js";
import { byId, say } from "./elements.js";

const CONFLICT = 409;

export const undrain = (worker) => post("admin/workers/undrain", { worker });

/** The drained worker; nothing when it was the last usable one and shall stay. */
export async function drain(worker) {
  try {
    return await post("admin/workers/drain", { worker, force: false });
  } catch (error) {
    if (!(error instanceof CallError) || error.status !== CONFLICT) throw error;
    if (!(await isConfirmed(worker))) return null;
  }
  return post("admin/workers/drain", { worker, force: true });
}

function isConfirmed(worker) {
  const dialog = byId("confirm");
  const what = "is the last usable worker of a model. Until another one is, its clients get 503, or lexical scores if the fallback is on.";
  say(byId("confirm-text"), `${worker} ${what}`);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    byId("confirm-yes").onclick = () => dialog.close("yes");
    byId("confirm-no").onclick = () => dialog.close("no");
  });
}
