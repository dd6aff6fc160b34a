// Tiles done and in work, drawn over the picture.

const SVG = "http://www.w3.org/2000/svg";
const BAR = 4;

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

export class Overlay {
  /** @param {SVGElement} svg over the viewer; @param {(x, y) => {x, y}} place a place of the picture in its pixels */
  constructor(svg, place) {
    this.svg = svg;
    this.place = place;
    this.tiles = { done: [], in_flight: [] };
    // One path for all that are done: where tiles overlap it is not darker, and thousands are one element.
    this.done = element("path", { class: "done" }, svg);
    this.flights = element("g", {}, svg);
  }

  set visible(visible) {
    this.svg.toggleAttribute("hidden", !visible);
    if (visible) this.draw();
  }

  get visible() {
    return !this.svg.hasAttribute("hidden");
  }

  update(tiles) {
    this.tiles = tiles;
    this.svg.dataset.done = tiles.done.length;
    this.flights.replaceChildren(...tiles.in_flight.map((flight) => this.flight(flight)));
    this.draw();
  }

  flight({ worker, iteration, iterations }) {
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", "flight");
    group.dataset.worker = worker;
    element("rect", { class: "box" }, group);
    element("rect", { class: "rail", height: BAR }, group);
    element("rect", { class: "bar", height: BAR }, group);
    const step = iterations ? ` · ${iteration ?? 0}/${iterations}` : "";
    element("text", {}, group).textContent = `worker ${worker}${step}`;
    return group;
  }

  /** Puts everything where the view has it now. */
  draw() {
    if (!this.visible) return;
    this.done.setAttribute("d", this.tiles.done.map((box) => this.outline(box)).join(""));
    this.tiles.in_flight.forEach((flight, index) => this.put(this.flights.children[index], flight));
  }

  corners([left, top, right, bottom]) {
    return [this.place(left, top), this.place(right, bottom)];
  }

  outline(box) {
    const [a, b] = this.corners(box);
    return `M${a.x.toFixed(1)} ${a.y.toFixed(1)}H${b.x.toFixed(1)}V${b.y.toFixed(1)}H${a.x.toFixed(1)}Z`;
  }

  put(group, { box, iteration, iterations }) {
    const [a, b] = this.corners(box);
    const width = Math.max(0, b.x - a.x);
    const [rect, rail, bar, text] = group.children;
    set(rect, { x: a.x, y: a.y, width, height: Math.max(0, b.y - a.y) });
    const share = iterations ? Math.min(1, (iteration ?? 0) / iterations) : 0;
    set(rail, { x: a.x, y: b.y - BAR, width });
    set(bar, { x: a.x, y: b.y - BAR, width: width * share });
    bar.dataset.share = share;
    set(text, { x: a.x + 6, y: b.y - BAR - 6 });
    // A name wider than its tile would be read as its neighbour's.
    text.toggleAttribute("hidden", width < 7 * text.textContent.length + 8);
  }
}

function set(node, numbers) {
  for (const [key, value] of Object.entries(numbers)) node.setAttribute(key, value.toFixed(1));
}
