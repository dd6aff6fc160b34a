// The page's one line to the server: states come in, commands go out.

/** Nothing heard for so long: ask. The comments that keep a connection open do not reach scripts. */
const SILENCE = 30000;
const PATIENCE = 10000;
const AGAIN = 3000;

export class Connection {
  /**
   * @param {(state: object) => void} onState with every state
   * @param {(lost: boolean, heard: Date|null) => void} onChange when the connection is lost or found again
   * @param {(heard: Date) => void} onEnd when the server says that it ends: its address will not be used again
   */
  constructor(onState, onChange, onEnd) {
    this.onState = onState;
    this.onChange = onChange;
    this.onEnd = onEnd;
    this.heard = null;
    this.lost = false;
    this.ended = false;
    this.open();
    setInterval(() => this.ask(), SILENCE / 3);
    // A computer that slept, or a phone from a pocket, shall not show an old picture as the present one.
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
  }

  open() {
    const source = (this.source = new EventSource("events"));
    source.addEventListener("state", (event) => this.take(JSON.parse(event.data)));
    source.addEventListener("end", () => this.end());
    source.addEventListener("error", () => {
      this.tell(true);
      // EventSource tries again by itself, except after an answer that is no stream (a proxy's error page).
      if (source.readyState === EventSource.CLOSED) this.reopen();
    });
  }

  reopen() {
    this.source.close();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), AGAIN);
  }

  take(state) {
    this.heard = new Date();
    this.tell(false);
    this.onState(state);
  }

  end() {
    this.ended = true;
    this.source.close();
    this.onEnd(this.heard);
  }

  tell(lost) {
    if (lost === this.lost) return;
    this.lost = lost;
    this.onChange(lost, this.heard);
  }

  /** After a silence: a tunnel that hangs gives no error, so only a question shows that it does. */
  async ask() {
    if (document.hidden || this.ended || this.lost || !this.heard || Date.now() - this.heard < SILENCE) return;
    try {
      const answer = await fetch("state.json", { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      this.take(await answer.json());
    } catch {
      if (this.ended) return;
      this.tell(true);
      this.reopen();
    }
  }

  /** Sends pause, continue or cancel. Returns what the server says, and whether it was done. */
  async send(command) {
    try {
      const answer = await fetch(command, {
        method: "POST",
        headers: { "X-Tilefarm": "1" },
        signal: AbortSignal.timeout(PATIENCE),
      });
      const { said } = await answer.json();
      return { done: answer.ok, said };
    } catch {
      return { done: false, said: `There was no answer to "${command}": the connection is lost.` };
    }
  }
}
