/**
 * Messages that are not yet seen in the user's own stream (C2 of protocol.md). An entry is on disk before it is sent,
 * keeps its id on every attempt, and goes only when its event came back, or when the person throws it away.
 */

/**
 * @typedef {object} Entry
 * @property {string} id the message id, the same on every attempt
 * @property {number} position order in which they were written
 * @property {string} conversation
 * @property {"open" | "send"} verb
 * @property {import("./wire.js").Body} body
 * @property {string} [transaction] of an `open`
 * @property {string} [topic] of an `open`
 * @property {string} at when it was written, for display
 * @property {"queued" | "sending" | "accepted" | "failed"} state
 * @property {string} [problem] why it failed, for a person
 */

/** Codes after which the same frame may well succeed; anything else needs the person to decide. */
const PASSING = new Set(["disconnected", "unavailable", "rate_limited", "out_of_order"]);

const PROBLEMS = /** @type {Record<string, string>} */ ({
  too_large: "This message is too long.",
  forbidden: "You cannot write in this conversation.",
  not_found: "This conversation is no longer available.",
});

export class Outbox {
  /** @type {Entry[]} */
  entries = [];
  #retryTimer = 0;

  /**
   * @param {import("./store.js").Store} store
   * @param {import("./connection.js").Connection} connection
   * @param {() => void} changed
   * @param {(usn: number) => boolean} passed whether the stream of this device is past `usn`
   */
  constructor(store, connection, changed, passed) {
    this.store = store;
    this.connection = connection;
    this.changed = changed;
    this.passed = passed;
  }

  /** @param {Entry[]} rows as loaded from the store */
  restore(rows) {
    this.entries = rows.sort((a, b) => a.position - b.position);
    this.rewind();
  }

  /** After a loss nobody knows what arrived: everything undecided goes again, with the ids it has. */
  rewind() {
    for (const entry of this.entries) if (entry.state !== "failed") entry.state = "queued";
  }

  /** @param {Omit<Entry, "position" | "state">} message */
  async add(message) {
    const position = (this.entries.at(-1)?.position ?? 0) + 1;
    /** @type {Entry} */
    const entry = { ...message, position, state: "queued" };
    this.entries.push(entry);
    this.changed();
    await this.store.write({ put: { outbox: [entry] } });
    this.flush();
  }

  /** Sends what is queued, in order. Does not wait for answers: the `after` chain keeps the order (S3). */
  flush() {
    if (!this.connection.live) return;
    for (const entry of this.entries) if (entry.state === "queued") this.#send(entry);
  }

  /** @param {string} id */
  retry(id) {
    const entry = this.entries.find((candidate) => candidate.id === id);
    if (!entry) return;
    entry.state = "queued";
    delete entry.problem;
    this.changed();
    this.flush();
  }

  /** @param {string} id @returns {Entry | undefined} the entry that is now gone from memory; the caller removes it from disk */
  take(id) {
    const index = this.entries.findIndex((entry) => entry.id === id);
    return index < 0 ? undefined : this.entries.splice(index, 1)[0];
  }

  /** @param {Entry} entry */
  async #send(entry) {
    entry.state = "sending";
    try {
      const answer = await this.connection.request(this.#frame(entry));
      entry.state = "accepted";
      // The repeat of a message whose event lies before the snapshot this device began with: it will not be offered again.
      if (answer.usn !== undefined && this.passed(answer.usn)) {
        this.take(entry.id);
        await this.store.write({ remove: { outbox: [entry.id] } });
      }
    } catch (error) {
      const refused = /** @type {import("./connection.js").Refused} */ (error);
      if (refused.retry || PASSING.has(refused.code)) {
        entry.state = "queued";
        if (refused.code !== "disconnected") this.#again(refused.retryAfterMs || 500);
      } else {
        entry.state = "failed";
        entry.problem = PROBLEMS[refused.code] ?? "This message could not be sent.";
        await this.store.write({ put: { outbox: [entry] } });
      }
    }
    this.changed();
  }

  /** @param {number} delayMs */
  #again(delayMs) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.flush(), delayMs);
  }

  /** @param {Entry} entry @returns {import("./wire.js").Frame} */
  #frame(entry) {
    const { id, body, conversation } = entry;
    if (entry.verb === "open") {
      const { transaction, topic } = entry;
      return { t: "open", conversation, message: { id, body }, ...(transaction && { transaction }), ...(topic && { topic }) };
    }
    const earlier = this.entries.filter(
      (other) => other.conversation === conversation && other.position < entry.position && !["accepted", "failed"].includes(other.state),
    );
    const after = earlier.at(-1)?.id;
    return { t: "send", conversation, id, body, ...(after && { after }) };
  }
}
