/** Elements in few words. Text is always set as text, never as markup. */

type Child = Node | string | null | false | undefined;
type Props = Record<string, string | boolean | number | ((event: Event) => void) | null | undefined>;

/** `h("button", {class: "primary", onclick: join, "aria-label": "Join"}, "Join")`. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false && child !== undefined));
  return element;
}

const ICONS = {
  mic: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3M5 11a7 7 0 0 0 14 0M12 18v3",
  micOff: "M9 9v3a3 3 0 0 0 4.6 2.5M15 11V6a3 3 0 0 0-5.9-.8M5 11a7 7 0 0 0 11 5.7M19 11a7 7 0 0 1-.6 2.8M12 18v3M3 3l18 18",
  camera: "M3 7h11a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1M15 11l6-3.5v9L15 13",
  cameraOff: "M8 7h6a1 1 0 0 1 1 1v5M15 16a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1M15 11l6-3.5v9M3 3l18 18",
  leave: "M4 14c-1-2-.5-4 1-5 4-2.600 10-2.600 14 0 1.500 1 2 3 1 5l-4-1v-2.500a12 12 0 0 0-8 0V13z",
  people: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7M2.500 20a6.500 6.500 0 0 1 13 0M16 4.300a3.500 3.500 0 0 1 0 6.400M18 14.500a6.500 6.500 0 0 1 3.500 5.500",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  notFull: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  sound: "M4 9.500h3.500L12 5.500v13l-4.500-4H4zM15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
  soundOff: "M4 9.500h3.500L12 5.500v13l-4.500-4H4zM16 9.500l5 5M21 9.500l-5 5",
  follow: "M12 3a3 3 0 0 0-3 3v4a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3M7 10a5 5 0 0 0 10 0M12 15v3M4 6v4M20 6v4M8 21h8",
  close: "M6 6l12 12M18 6L6 18",
  call: "M6 3h3l2 5-2.500 1.500a12 12 0 0 0 6 6L16 13l5 2v3a3 3 0 0 1-3 3A15 15 0 0 1 3 6a3 3 0 0 1 3-3",
} as const;

export type IconName = keyof typeof ICONS;

export function icon(name: IconName): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * Brings the children into this form, keeping what is there already, so that focus and open lists stay. Listeners of the
 * given nodes are lost where an old node is kept: listen on the parent instead (`act`).
 */
export function fill(element: Element, ...children: Child[]): void {
  const wanted = children
    .filter((child): child is Node | string => child !== null && child !== false && child !== undefined && child !== "")
    .map((child) => (typeof child === "string" ? document.createTextNode(child) : child));
  wanted.forEach((child, at) => {
    const there = element.childNodes[at];
    if (!there) element.append(child);
    else if (!there.isEqualNode(child)) settle(there, child);
  });
  while (element.childNodes.length > wanted.length) element.lastChild?.remove();
}

function settle(there: ChildNode, wanted: Node): void {
  if (there.nodeName !== wanted.nodeName) return there.replaceWith(wanted);
  if (there instanceof Element && wanted instanceof Element) {
    for (const { name } of [...there.attributes]) if (!wanted.hasAttribute(name)) there.removeAttribute(name);
    for (const { name, value } of [...wanted.attributes]) {
      if (there.getAttribute(name) !== value) there.setAttribute(name, value);
    }
    fill(there, ...wanted.childNodes);
    // The value of a list is a property; setting it closes nothing that is open.
    if (there instanceof HTMLSelectElement && wanted instanceof HTMLSelectElement) there.value = wanted.value;
  } else there.nodeValue = wanted.nodeValue;
}

/** One listener for all buttons below `root` that carry `data-act`: gets the act and `data-of`. */
export function act(root: Element, run: (act: string, of: string) => void): void {
  root.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-act]") : null;
    if (button && root.contains(button)) run(button.dataset["act"] ?? "", button.dataset["of"] ?? "");
  });
}

/** Sets text when it differs. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, is: boolean): void {
  if (element.hidden === is) element.hidden = !is;
}
