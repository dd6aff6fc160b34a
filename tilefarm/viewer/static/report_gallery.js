// A gallery's filters, its order, and two runs side by side.
"use strict";

(function () {
  const PAGE = 200; // cards that are shown before somebody asks for more
  const data = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("runs");
  const form = document.getElementById("filters");
  const words = document.getElementById("words");
  const order = document.getElementById("order");
  const more = document.getElementById("more");
  const cards = data.runs.map((run, index) => document.getElementById("run-" + index));
  const natural = new Intl.Collator("en", { numeric: true });
  const filters = [];
  let room = PAGE;

  function option(select, value, text) {
    const one = document.createElement("option");
    one.value = value;
    one.textContent = text;
    select.append(one);
  }

  function addFilters() {
    data.labels.forEach((label, key) => {
      const values = [...new Set(data.runs.map((run) => run.values[key]))].sort(natural.compare);
      addFilter(label, values, (run) => run.values[key]);
    });
    const statuses = [...new Set(data.runs.map((run) => run.status))];
    if (statuses.length > 1) {
      addFilter("Status", statuses, (run) => run.status);
    }
  }

  function addFilter(name, values, of) {
    const field = document.createElement("div");
    const label = document.createElement("label");
    const select = document.createElement("select");
    field.className = "field";
    label.textContent = name;
    label.htmlFor = select.id = "filter-" + filters.length;
    option(select, "", "all");
    values.forEach((value, index) => option(select, String(index), value));
    field.append(label, select);
    form.insertBefore(field, form.lastElementChild);
    filters.push((run) => select.value === "" || of(run) === values[Number(select.value)]);
  }

  function compared(a, b) {
    const key = order.value;
    if (!key) {
      return a - b;
    }
    const x = data.runs[a][key];
    const y = data.runs[b][key];
    if (key === "name") {
      return natural.compare(x, y) || a - b;
    }
    return (x === null ? Infinity : x) - (y === null ? Infinity : y) || a - b;
  }

  function show() {
    const wanted = words.value.trim().toLocaleLowerCase();
    const fits = (run) => run.name.toLocaleLowerCase().includes(wanted) && filters.every((one) => one(run));
    const indices = data.runs.map((run, index) => index).sort(compared);
    const found = indices.filter((index) => fits(data.runs[index]));
    const visible = new Set(found.slice(0, room));
    cards.forEach((card, index) => (card.hidden = !visible.has(index)));
    list.append(...indices.map((index) => cards[index]));
    more.hidden = found.length <= room;
    const part = found.length > room ? ", the first " + room + " of them shown" : "";
    document.getElementById("count").textContent = found.length + " of " + data.runs.length + " runs" + part;
  }

  // Two runs side by side.
  const pair = [];
  let viewers = [];

  function choose(index) {
    const at = pair.indexOf(index);
    if (at >= 0) {
      pair.splice(at, 1);
    } else {
      pair.push(index);
      if (pair.length > 2) {
        pair.shift();
      }
    }
    document.querySelectorAll("[data-compare]").forEach((button) => {
      button.setAttribute("aria-pressed", String(pair.includes(Number(button.dataset.compare))));
    });
    const section = document.getElementById("pair");
    section.hidden = pair.length < 2;
    viewers.forEach((viewer) => viewer.destroy());
    viewers = [];
    document.getElementById("pair-controls").replaceChildren();
    if (pair.length === 2) {
      side();
      section.scrollIntoView();
      section.focus({ preventScroll: true });
    }
  }

  function side() {
    viewers = pair.map((index, place) => {
      const run = data.runs[index];
      const stage = document.getElementById("pair-" + place);
      document.getElementById("pair-name-" + place).textContent = run.name;
      stage.style.aspectRatio = String(Math.min(3, Math.max(0.6, run.zoom.width / run.zoom.height)));
      return tilefarmZoom.open(stage, [run.zoom], run.name + " in deep zoom");
    });
    const group = tilefarmZoom.together(viewers, true);
    const bar = document.getElementById("pair-controls");
    viewers[0].addOnceHandler("open", () => {
      tilefarmZoom.controls(bar, viewers[0], () => group.lead(viewers[0]));
    });
    differences();
  }

  function differences() {
    const [a, b] = pair.map((index) => data.runs[index]);
    const rows = data.labels
      .map((label, key) => [label, a.values[key], b.values[key]])
      .filter((row) => row[1] !== row[2]);
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.textContent = rows.length ? "In what they differ" : "They differ in no key";
    rows.forEach(([label, one, other]) => {
      const row = table.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = label;
      row.append(head);
      row.insertCell().textContent = one;
      row.insertCell().textContent = other;
    });
    document.getElementById("differences").replaceChildren(table);
  }

  addFilters();
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", show);
  form.addEventListener("reset", () => window.setTimeout(show)); // the fields change after this event
  more.addEventListener("click", () => {
    room += PAGE;
    show();
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-compare]");
    if (button) {
      choose(Number(button.dataset.compare));
    }
  });
  show();
  document.documentElement.dataset.ready = "yes";
})();
