// Pause, continue, cancel, and the command to copy.

import { write } from "./panels.js";

const byId = (id) => document.getElementById(id);
const TOLD = 8000;

export class Controls {
  /** @param {(command: string) => Promise<{done: boolean, said: string}>} send */
  constructor(send) {
    this.send = send;
    this.can = { pause: false, continue: false, cancel: false };
    this.status = null;
    this.asked = null; // a command on its way, or done but not yet seen in the state
    this.lost = true;
    byId("pause").addEventListener("click", () => this.pause());
    byId("cancel").addEventListener("click", () => byId("sure").showModal());
    byId("sure-no").addEventListener("click", () => byId("sure").close());
    byId("sure-yes").addEventListener("click", () => {
      byId("sure").close();
      this.command("cancel");
    });
    byId("copy").addEventListener("click", () => this.copy());
  }

  update(state) {
    if (state.status !== this.status) this.asked = null;
    this.status = state.status;
    this.can = state.can;
    this.show();
  }

  /** Without a connection nothing can be asked for. */
  set connected(connected) {
    this.lost = !connected;
    this.show();
  }

  /** One button for both, so that the focus stays on it. Disabled by ARIA alone for the same reason. */
  show() {
    const verb = this.can.continue ? "continue" : "pause";
    const names = { pause: "Pause", continue: "Continue", cancel: "Cancel …" };
    const waits = { pause: "Pausing …", continue: "Continuing …", cancel: "Cancelling …" };
    const buttons = { [verb]: byId("pause"), cancel: byId("cancel") };
    for (const [command, button] of Object.entries(buttons)) {
      button.disabled = false;
      button.setAttribute("aria-disabled", String(this.lost || this.asked !== null || !this.can[command]));
      write(button, this.asked === command ? waits[command] : names[command]);
    }
    byId("pause").classList.toggle("primary", verb === "continue");
    if (!this.can.cancel && byId("sure").open) byId("sure").close();
  }

  pause() {
    this.command(this.can.continue ? "continue" : "pause");
  }

  async command(command) {
    if (this.lost || this.asked !== null || !this.can[command]) return;
    this.asked = command;
    this.show();
    const { done, said } = await this.send(command);
    if (!done) this.asked = null;
    this.say(said);
    this.show();
  }

  say(text) {
    const answer = byId("answer");
    answer.hidden = !text;
    answer.textContent = text ?? "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (answer.hidden = true), TOLD);
  }

  async copy() {
    const code = byId("resume");
    try {
      await navigator.clipboard.writeText(code.textContent);
      this.say("The command is on the clipboard.");
    } catch {
      // Browsers may forbid it: then the text is marked, and Ctrl-C does the rest.
      window.getSelection().selectAllChildren(code);
      this.say("The command is marked: copy it with Ctrl-C.");
    }
  }
}
