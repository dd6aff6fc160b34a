// The words and tables beside the picture: a state in, text out.

import { NOTHING, bytes, clock, count, duration, number, percent, rate, size } from "./format.js";

const byId = (id) => document.getElementById(id);

/** Changes only text that is another: unchanged nodes keep a reader's selection and its screen reader's place. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A table with a caption for screen readers. A row is an array of texts; numbers in `current` mark rows. */
export function table(caption, heads, rows, current = -1) {
  const made = document.createElement("table");
  made.createCaption().textContent = caption;
  made.caption.className = "unseen";
  const head = made.createTHead().insertRow();
  for (const name of heads) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = made.createTBody();
  rows.forEach((cells, index) => {
    const row = body.insertRow();
    if (index === current) row.setAttribute("aria-current", "true");
    for (const text of cells) row.insertCell().textContent = text;
  });
  return made;
}

/** Puts it in place of what is there, unless it is the same. */
function put(parent, made) {
  if (!parent.firstElementChild?.isEqualNode(made)) parent.replaceChildren(made);
}

function terms(list, pairs) {
  const told = pairs.filter(([, text]) => text !== null && text !== undefined && text !== NOTHING);
  const mark = told.map(([name]) => name).join("\n");
  if (list.dataset.names !== mark) {
    list.dataset.names = mark;
    list.replaceChildren(
      ...told.flatMap(([name]) => {
        const term = document.createElement("dt");
        term.textContent = name;
        return [term, document.createElement("dd")];
      }),
    );
  }
  told.forEach(([, text], index) => write(list.children[2 * index + 1], String(text)));
}

const of = (part, whole) => (part === null || part === undefined ? null : whole ? `${part} of ${whole}` : `${part}`);

const current = (state) => state.levels.find(({ level }) => level === state.level);

/** "evaluating 12 of 40" where the work has parts that are counted. */
function doing(state) {
  const [done, total] = state.pieces ?? [];
  return state.doing && total > 1 ? `${state.doing} ${of(done, total)}` : state.doing;
}

/** Also while a pause is asked for and something is finished first. */
export const atWork = (state) => state.status === "running" || state.status === "pausing";

/** "run that follows" or "3 runs that follow"; empty where none does. */
export function after({ turn }) {
  const left = turn ? turn.total - turn.number : 0;
  return left > 1 ? `${left} runs that follow` : left === 1 ? "run that follows" : "";
}

/** One sentence: where the run is. */
export function summary(state) {
  const parts = [];
  if (state.turn) parts.push(`run ${of(state.turn.number, state.turn.total)}`);
  const level = current(state);
  if (level) parts.push(`level ${of(level.level, state.levels.length)}, ${size(level.width, level.height)}`);
  if (atWork(state) && state.doing) parts.push(state.doing);
  if (atWork(state) && state.seconds_left !== null) parts.push(`about ${duration(state.seconds_left)} left`);
  return parts.join(" · ");
}

export function progress(state) {
  const share = byId("share");
  if (state.share === null) share.removeAttribute("value");
  else share.value = state.share;
  write(byId("percent"), percent(state.share));
  const left = atWork(state) || state.status === "paused" ? state.seconds_left : null;
  write(byId("left"), left === null ? "" : `about ${duration(left)} left`);
  const level = current(state);
  const { tiles } = state;
  terms(byId("facts"), [
    ["level", level && `${of(level.level, state.levels.length)} · ${size(level.width, level.height)}`],
    ["round", of(state.round, state.rounds)],
    ["iteration", of(state.iteration, state.iterations)],
    ["doing", atWork(state) ? doing(state) : null],
    ["tiles", tiles.total > 1 ? `${count(tiles.total)}, ${tiles.in_flight.length} in work` : null],
    ["so far", duration(state.seconds)],
  ]);
}

export function levels(state) {
  const rows = state.levels.map((level) => [
    level.level,
    size(level.width, level.height),
    count(level.tiles),
    level.loss_first === null ? NOTHING : `${number(level.loss_first)} → ${level.loss_last === null ? "…" : number(level.loss_last)}`,
    duration(level.seconds),
  ]);
  const at = state.levels.findIndex(({ state: how }) => how === "current");
  put(byId("levels"), table("Levels", ["level", "pixels", "tiles", "loss", "time"], rows, at));
}

export function workers(state) {
  const rows = state.workers.map((worker) => [
    worker.worker,
    worker.device,
    worker.state,
    rate(worker.megapixels_per_second),
    bytes(worker.rss_bytes),
  ]);
  const heads = ["worker", "device", "state", "MP/s", "memory"];
  if (rows.length) put(byId("workers"), table("Workers; MP/s: megapixels a second", heads, rows));
  else put(byId("workers"), Object.assign(document.createElement("p"), { textContent: "No workers at the moment." }));
  const parts = [];
  if (state.driver?.rss_bytes) parts.push(`driver ${bytes(state.driver.rss_bytes)}`);
  if (state.disk_free_bytes !== null) parts.push(`${bytes(state.disk_free_bytes)} of disk free`);
  write(byId("machine"), parts.join(" · "));
}

const FAULTS = [
  ["worker_losses", "worker lost", "workers lost"],
  ["tile_retries", "tile done again", "tiles done again"],
  ["rollbacks", "step taken back", "steps taken back"],
  ["numbers_gone_wrong", "time numbers went wrong", "times numbers went wrong"],
];

export function faults(state) {
  const told = FAULTS.filter(([key]) => state.faults[key] > 0).map(
    ([key, one, many]) => `${count(state.faults[key])} ${state.faults[key] === 1 ? one : many}`,
  );
  write(byId("faults"), told.length ? `Survived: ${told.join(", ")}.` : "Nothing went wrong.");
  const lines = state.said.slice().reverse().map(({ time, text }) => `${clock(time)}\n${text}`);
  const list = byId("said");
  if (list.dataset.lines === String(lines.length) + lines[0]) return;
  list.dataset.lines = String(lines.length) + lines[0];
  list.replaceChildren(
    ...lines.map((line) => {
      const [time, text] = line.split("\n");
      const item = document.createElement("li");
      item.append(Object.assign(document.createElement("time"), { textContent: time }), ` ${text}`);
      return item;
    }),
  );
}

export function run(state) {
  terms(byId("run"), [
    ["method", state.method],
    ["network", state.network],
    ["precision", state.precision],
    ["picture", state.size && `${size(state.size.width, state.size.height)} pixels`],
    ["output", state.output],
    ["folder", state.root],
  ]);
  write(byId("resume"), state.resume);
  write(byId("sure-resume"), state.resume);
  const follow = after(state);
  write(byId("sure-others"), follow ? `The ${follow} will not be begun; the same tilefarm submit goes on with all.` : "");
}
