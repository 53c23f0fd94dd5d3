// Every text that can be seen and is too pale for its background: WCAG 2.2, 1.4.3, with colours as they are computed.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  /** Red, green, blue in 0..255 and alpha in 0..1, whatever the notation. */
  function rgba(color) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  const over = ([r, g, b, a], under) => [r, g, b].map((part, place) => a * part + (1 - a) * under[place]);

  /** What is behind an element: its own background over its parents'. */
  function behind(element) {
    const under = element.parentElement ? behind(element.parentElement) : [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor), under);
  }

  function luminance(color) {
    const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function ratio(element, color) {
    const background = behind(element);
    const [light, dark] = [luminance(over(rgba(color), background)), luminance(background)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  }

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) texts.push(element);
  }
  const fields = [...document.querySelectorAll("input, textarea, select")].filter((field) => field.checkVisibility());
  const judged = [...new Set([...texts, ...fields])].map((element) => ({
    text: (element.textContent || element.id).trim().slice(0, 40),
    ratio: ratio(element, getComputedStyle(element).color),
  }));
  return { judged: judged.length, pale: judged.filter(({ ratio: found }) => found < 4.5) };
};
