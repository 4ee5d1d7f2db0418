/**
 * An agent's desk on `/v1/desk`: the inbox as summaries by `rev`, one watched thread by `seq`. What changes something
 * goes over REST (admin_api.js); the socket listens, and carries typing.
 */
import { Connection, Refused } from "./connection.js";

const TYPING_EVERY_MS = 3_000;

/** @typedef {import("./wire.js").Summary} Summary */
/** @typedef {import("./wire.js").Event} Event */

export class DeskClient {
  /** Summaries by id, newest `rev` wins. @type {Map<string, Summary>} */
  inbox = new Map();
  /** @type {string | null} */
  app = null;
  /** The thread on screen; `seq` is the cursor. @type {{ conversation: string, seq: number } | null} */
  watched = null;
  /** The next event of the watched thread. @type {(event: Event) => void} */
  onEvent = () => undefined;
  /** Typing and other things nobody stores. @type {(signal: any) => void} */
  onSignal = () => undefined;
  #typingUntil = 0;

  /**
   * @param {object} options
   * @param {string} options.url `ws(s)://…/v1/desk`
   * @param {() => string} options.token the session's CSRF token; the cookie travels by itself
   * @param {() => void} options.changed the inbox or the connection changed
   */
  constructor({ url, token, changed }) {
    this.changed = changed;
    this.connection = new Connection({
      url,
      hello: async () => ({ t: "hello", token: token() }),
      welcomed: () => this.#welcomed(),
      received: (frame) => this.#received(frame),
      changed,
    });
  }

  /** @param {string} app whose inbox to keep */
  start(app) {
    this.app = app;
    this.connection.start();
  }

  stop() {
    this.connection.pause();
    this.inbox.clear();
    this.watched = null;
  }

  /** Follows a thread from after `seq`; the one before it is let go. @param {string | null} conversation @param {number} seq */
  watch(conversation, seq = 0) {
    if (this.watched && this.watched.conversation !== conversation) {
      this.connection.send({ t: "unwatch", conversation: this.watched.conversation });
    }
    this.watched = conversation ? { conversation, seq } : null;
    if (this.connection.live) this.#watch();
  }

  /** @param {string} conversation @param {boolean} on */
  typing(conversation, on) {
    const now = performance.now();
    if (on === now < this.#typingUntil) return;
    this.#typingUntil = on ? now + TYPING_EVERY_MS : 0;
    this.connection.send({ t: "typing", conversation, on });
  }

  /** @param {Summary[]} summaries from any door; an older `rev` changes nothing */
  merge(summaries) {
    for (const summary of summaries) {
      const known = this.inbox.get(summary.id);
      if (known && summary.rev < known.rev) continue;
      // On the desk `unread` counts for the agents; a door that tells both numbers calls theirs `agent_unread`.
      this.inbox.set(summary.id, { ...summary, agent_unread: summary.agent_unread ?? summary.unread ?? 0 });
    }
    this.changed();
  }

  #welcomed() {
    this.connection.send({ t: "presence", state: "online" });
    if (this.app) this.#ask({ t: "watch_inbox", app: this.app, filter: {} });
    this.#watch();
  }

  #watch() {
    if (this.watched) this.#ask({ t: "watch", conversation: this.watched.conversation, seq: this.watched.seq });
  }

  /** @param {import("./wire.js").Frame} frame */
  async #ask(frame) {
    try {
      const answer = await this.connection.request(frame);
      if (answer.t === "inbox") this.#received(answer); // an inbox may come as the answer itself
    } catch (error) {
      // A lost socket asks again at its next welcome; everything else a developer must see.
      if (!(error instanceof Refused) || error.code !== "disconnected") console.warn(`${frame.t} was refused`, error);
    }
  }

  /** @param {import("./wire.js").Frame} frame */
  #received(frame) {
    if (frame.t === "inbox") {
      this.merge(frame.conversations);
    } else if (frame.t === "event") {
      const event = /** @type {any} */ (frame);
      const { watched } = this;
      if (!watched || watched.conversation !== event.conversation || event.seq <= watched.seq) return;
      watched.seq = event.seq;
      this.onEvent(event);
    } else if (frame.t === "signal") {
      this.onSignal(frame);
    }
  }
}
