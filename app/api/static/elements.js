// Elements by what they are called. All text goes in as text, never as HTML: names and messages come from elsewhere.

export const byId = (id) => document.getElementById(id);

export const field = (root, name) => root.querySelector(`[data-field="${name}"]`);

/** Puts text in, but only where it changes: a screen reader and a selection stay undisturbed. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A new element with a class and a text. */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A copy of the one element inside a template. */
export const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Sets the terms and values of a description list: pairs of texts, those without a value left out. */
export function describe(list, pairs) {
  const told = pairs.filter(([, value]) => value !== null);
  while (list.children.length > told.length) list.lastElementChild.remove();
  told.forEach(([term, value], place) => {
    const row = list.children[place] ?? list.appendChild(element("div"));
    if (!row.children.length) row.append(element("dt"), element("dd"));
    say(row.firstElementChild, term);
    say(row.lastElementChild, value);
  });
}
