// The loss curves: drawn, pointed at by mouse, finger or keys, and as a table.

import { TERMS, drawn, height, inARow, range, ticks } from "./curves.js";
import { number } from "./format.js";
import { table } from "./panels.js";

const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 46, right: 12, top: 14, bottom: 22 };

function element(name, attributes, parent, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

export class Losses {
  constructor(chart, reading, details) {
    this.chart = chart;
    this.reading = reading;
    this.details = details;
    this.points = [];
    this.levels = [];
    this.chosen = null; // the index of a point; null: follow the last
    details.addEventListener("toggle", () => this.fill());
    chart.addEventListener("keydown", (event) => this.key(event));
    chart.addEventListener("pointermove", (event) => this.point(event));
    chart.addEventListener("pointerdown", (event) => this.point(event));
    chart.addEventListener("pointerleave", () => this.choose(null));
    chart.addEventListener("blur", () => this.choose(null));
    new ResizeObserver(() => this.draw()).observe(chart);
  }

  update(losses) {
    const last = losses[losses.length - 1];
    const mark = `${losses.length} ${last?.level} ${last?.step} ${last?.total}`;
    if (mark === this.mark) return; // nothing new: states come every second, losses seldom
    this.mark = mark;
    Object.assign(this, inARow(losses));
    if (this.chosen !== null) this.chosen = Math.min(this.chosen, this.points.length - 1);
    this.draw();
    this.fill();
  }

  across(at) {
    const first = this.points[0].at;
    const last = Math.max(this.points[this.points.length - 1].at, first + 1);
    return EDGE.left + ((at - first) / (last - first)) * (this.width - EDGE.left - EDGE.right);
  }

  down(value) {
    return this.high - EDGE.bottom - height(value, this.range) * (this.high - EDGE.top - EDGE.bottom);
  }

  draw() {
    this.terms = drawn(this.points);
    this.range = range(this.points, this.terms);
    this.width = this.chart.clientWidth;
    this.high = this.chart.clientHeight;
    if (!this.range || !this.width) return;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${this.width} ${this.high}`);
    svg.setAttribute("aria-hidden", "true");
    this.axes(svg);
    for (const { key } of this.terms) this.line(svg, key);
    this.cursor = element("g", { class: "cursor" }, svg);
    this.chart.replaceChildren(svg);
    this.choose(this.chosen);
  }

  axes(svg) {
    const right = this.width - EDGE.right;
    for (const value of ticks(this.range)) {
      const y = this.down(value).toFixed(1);
      element("line", { class: "grid", x1: EDGE.left, x2: right, y1: y, y2: y }, svg);
      element("text", { class: "tick", x: EDGE.left - 6, y, dy: "0.32em", "text-anchor": "end" }, svg, tick(value));
    }
    const floor = this.high - EDGE.bottom;
    for (const { level, from, to } of this.levels) {
      const start = this.across(Math.max(from, this.points[0].at));
      if (from > 0) element("line", { class: "border", x1: start, x2: start, y1: EDGE.top, y2: floor }, svg);
      const room = this.across(Math.max(to, this.points[0].at)) - start;
      const name = room > 52 ? `level ${level}` : `${level}`;
      if (room > 12) element("text", { class: "tick", x: start + 3, y: this.high - 7 }, svg, name);
    }
  }

  /** One line per term, broken where the level changes: the losses of two sizes are not one curve. */
  line(svg, key) {
    let path = "";
    let level = null;
    for (const point of this.points) {
      if (!(point[key] > 0)) {
        level = null;
        continue;
      }
      path += `${point.level === level ? "L" : "M"}${this.across(point.at).toFixed(1)} ${this.down(point[key]).toFixed(1)}`;
      level = point.level;
    }
    element("path", { class: `line ${key}`, d: path }, svg);
  }

  /** Shows a point's numbers; null goes back to the last one. */
  choose(index) {
    this.chosen = index;
    const last = this.points.length - 1;
    const here = index ?? last;
    const point = this.points[here];
    if (!point || !this.cursor) return;
    this.cursor.replaceChildren();
    const x = this.across(point.at).toFixed(1);
    if (index !== null) {
      element("line", { class: "rule", x1: x, x2: x, y1: EDGE.top, y2: this.high - EDGE.bottom }, this.cursor);
    }
    for (const { key } of this.terms) {
      if (point[key] > 0) element("circle", { class: key, cx: x, cy: this.down(point[key]).toFixed(1), r: 3 }, this.cursor);
    }
    this.tell(point);
    this.chart.setAttribute("aria-valuemax", last);
    this.chart.setAttribute("aria-valuenow", here);
  }

  tell(point) {
    const place = `Level ${point.level}, step ${point.step}`;
    const values = this.terms.map(({ key, name }) => ({ key, name, value: number(point[key]) }));
    this.chart.setAttribute("aria-valuetext", [place, ...values.map(({ name, value }) => `${name} ${value}`)].join(", "));
    const parts = values.map(({ key, name, value }) => {
      const part = document.createElement("span");
      part.className = `term ${key}`;
      part.textContent = `${name} ${value}`;
      return part;
    });
    const where = document.createElement("span");
    where.textContent = place;
    this.reading.replaceChildren(where, ...parts);
  }

  key(event) {
    const last = this.points.length - 1;
    const here = this.chosen ?? last;
    const page = Math.max(1, Math.round(last / 10));
    const to = {
      ArrowLeft: here - 1, ArrowDown: here - 1, ArrowRight: here + 1, ArrowUp: here + 1,
      PageDown: here - page, PageUp: here + page, Home: 0, End: last,
    }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(Math.min(Math.max(to, 0), last));
  }

  point(event) {
    if (!this.points.length || !this.range) return;
    const x = event.clientX - this.chart.getBoundingClientRect().left;
    let best = 0;
    this.points.forEach((point, index) => {
      if (Math.abs(this.across(point.at) - x) < Math.abs(this.across(this.points[best].at) - x)) best = index;
    });
    this.choose(best);
  }

  /** The table is made only while somebody looks at it. */
  fill() {
    if (!this.details.open) return;
    const rows = this.points.map((point) => [point.level, point.step, ...TERMS.map(({ key }) => number(point[key]))]);
    const heads = ["level", "step", ...TERMS.map(({ name }) => name)];
    this.details.querySelector("div").replaceChildren(table("Losses, weighted", heads, rows));
  }
}

function tick(value) {
  return value >= 1e5 || value < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(1)));
}
