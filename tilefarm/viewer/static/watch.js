// The page of `tilefarm watch`: brings states to the parts of the page, and what people press to the parts that do it.

import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { clock, percent, size } from "./format.js";
import { listen } from "./keys.js";
import { Losses } from "./losses.js";
import { Overlay } from "./overlay.js";
import * as panels from "./panels.js";
import { Picture } from "./picture.js";

const byId = (id) => document.getElementById(id);

const picture = new Picture(byId("viewer"), () => moved());
const overlay = new Overlay(byId("overlay"), (across, down) => picture.place(across, down));
const losses = new Losses(byId("chart"), byId("reading"), byId("losses-table"));
const connection = new Connection(show, connected, ended);
const controls = new Controls((command) => connection.send(command));

let shown = null; // the state that the page shows
let came = 0; // when it came
let spoken = ""; // what was last read out

function show(state) {
  if (shown && state.root !== shown.root) another();
  shown = state;
  came = Date.now();
  controls.connected = true;
  panels.write(byId("name"), state.name);
  const status = byId("status");
  status.dataset.status = state.status;
  panels.write(status, state.status);
  panels.write(byId("summary"), panels.summary(state));
  for (const part of [panels.progress, panels.levels, panels.workers, panels.faults, panels.run]) part(state);
  outcome(state);
  controls.update(state);
  losses.update(state.losses);
  look(state);
  overlay.update(state.tiles);
  title(state);
  speak(state);
}

/** The next run of a sweep: nothing of the one before stays on the page. The place that is looked at does. */
function another() {
  picture.clear();
  losses.choose(null);
}

/** The stage takes the picture's shape before there is a picture, so that nothing jumps. */
function look(state) {
  const { size: whole, picture: now } = state;
  if (whole) {
    const shape = `${whole.width} / ${whole.height}`;
    if (byId("stage").dataset.shape !== shape) {
      byId("stage").dataset.shape = shape;
      byId("stage").style.aspectRatio = shape;
    }
  }
  byId("empty").hidden = now !== null;
  if (now) picture.show(now);
  for (const id of ["content", "content-share"]) byId(id).disabled = state.content === null;
  if (state.content) picture.compare(Number(byId("content-share").value) / 100, state.content);
  caption();
}

function caption() {
  const now = shown?.picture;
  const whole = shown?.size;
  let text = "";
  if (now && whole) {
    text = `Now ${size(now.width, now.height)} pixels`;
    if (now.width < whole.width) text += `, in the end ${size(whole.width, whole.height)}`;
    text += ".";
  }
  panels.write(byId("caption"), text);
}

/** With a capital and a full stop: the messages of the run have neither. */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

const ENDS = {
  done: (state) => `Done: the picture is ${state.output}`,
  pausing: (state) => sentence(state.message),
  paused: () => "Paused. Nothing is lost: continue whenever you like.",
  failed: (state) => sentence(state.message ?? "the run failed"),
  interrupted: (state) => `${sentence(state.message ?? "the run was interrupted")} To go on: ${state.resume}${others(state)}`,
  cancelled: (state) => `Cancelled. What is painted is kept. To go on: ${state.resume}${others(state)}`,
};

/** The driver of this run was to render others after it, which `tilefarm resume` does not bring back. */
function others(state) {
  const follow = panels.after(state);
  return follow ? `. Not begun: the ${follow}; the same tilefarm submit goes on with all.` : "";
}

/** Between two states time goes on: a level without news would else look like a page that hangs. */
function tick() {
  if (!shown || !panels.atWork(shown) || connection.lost || document.hidden) return;
  const since = (Date.now() - came) / 1000;
  const { seconds, seconds_left: left } = shown;
  const now = {
    ...shown,
    seconds: seconds === null ? null : seconds + since,
    seconds_left: left === null ? null : Math.max(0, left - since),
  };
  panels.write(byId("summary"), panels.summary(now));
  panels.progress(now);
}

setInterval(tick, 1000);

function outcome(state) {
  const banner = byId("outcome");
  const text = ENDS[state.status]?.(state) ?? state.message;
  banner.hidden = !text;
  banner.dataset.status = state.status;
  panels.write(banner, text ?? "");
}

function title(state) {
  const share = state.status === "running" && state.share !== null ? percent(state.share) : state.status;
  const turn = state.turn ? `run ${state.turn.number} of ${state.turn.total} · ` : "";
  document.title = `${share} · ${turn}${state.name} · tilefarm`;
}

/** Read out: a change of status or level, not every number. */
function speak(state) {
  const level = state.status === "running" && state.level ? `, level ${state.level} of ${state.levels.length}` : "";
  const text = `${state.name} is ${state.status}${level}.`;
  if (text === spoken) return;
  spoken = text;
  panels.write(byId("live"), text);
}

function connected(lost, heard) {
  const banner = byId("connection");
  const since = heard ? `last heard at ${clock(heard / 1000)}` : "not heard yet";
  panels.write(banner, lost ? `No connection to tilefarm watch: ${since}. Trying again and again.` : "");
  banner.hidden = !lost;
  document.body.classList.toggle("lost", lost);
  controls.connected = !lost;
  if (!lost) panels.write(byId("live"), "Connected again.");
}

/** The page stays as it is; the server's address dies with it, so that asking again would be in vain. */
function ended(heard) {
  const banner = byId("connection");
  const at = clock(heard / 1000);
  const going = shown && (panels.atWork(shown) || shown.status === "paused");
  const how = going ? `this is how the run was at ${at}; it may go on. Look again with: tilefarm watch` : `this is how the run ended at ${at}`;
  panels.write(banner, `The page's server has ended: ${how}.`);
  banner.dataset.status = "ended";
  banner.hidden = false;
  controls.connected = false;
}

function moved() {
  overlay.draw();
  const scale = picture.scale;
  panels.write(byId("zoom"), scale === null ? "–" : `${Math.round(scale * 100)} %`);
}

function tiles() {
  overlay.visible = !overlay.visible;
  byId("tiles").setAttribute("aria-pressed", String(overlay.visible));
}

/** Hundredths of the view that show the photograph. */
function compare(hundredths) {
  if (!shown?.content) return;
  const field = byId("content-share");
  field.value = hundredths;
  const words = { 0: "none", 100: "all" };
  field.setAttribute("aria-valuetext", words[hundredths] ?? `the left ${hundredths} %`);
  byId("content").setAttribute("aria-pressed", String(hundredths > 0));
  byId("wipe").hidden = hundredths === 0 || hundredths === 100;
  byId("wipe").style.left = `${hundredths}%`;
  picture.compare(hundredths / 100, shown.content);
}

function photograph() {
  compare(Number(byId("content-share").value) > 0 ? 0 : 100);
}

function press(id, action) {
  byId(id).addEventListener("click", action);
}

press("zoom-in", () => picture.zoomBy(1.5));
press("zoom-out", () => picture.zoomBy(1 / 1.5));
press("fit", () => picture.fit());
press("pixels", () => picture.pixelForPixel());
press("tiles", tiles);
press("content", photograph);
byId("content-share").addEventListener("input", (event) => compare(Number(event.target.value)));

const field = byId("viewer").querySelector(".openseadragon-canvas");
field.setAttribute("role", "application");
field.setAttribute("aria-label", "The picture: arrows move it, plus and minus zoom");

const zooming = {
  "+": () => picture.zoomBy(1.5),
  "=": () => picture.zoomBy(1.5),
  "-": () => picture.zoomBy(1 / 1.5),
  0: () => picture.fit(),
  1: () => picture.pixelForPixel(),
};
const moving = {
  ArrowLeft: () => picture.moveBy(-1, 0),
  ArrowRight: () => picture.moveBy(1, 0),
  ArrowUp: () => picture.moveBy(0, -1),
  ArrowDown: () => picture.moveBy(0, 1),
};
listen({ ...zooming, p: () => controls.pause(), c: photograph, t: tiles }, { ...zooming, ...moving }, byId("stage"), byId("keys-on"));
