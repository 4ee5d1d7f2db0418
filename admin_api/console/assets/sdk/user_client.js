/**
 * A customer's device on `/v1/chat`: resumes by cursor, stores before it acknowledges (C1), keeps what it sends until it
 * saw it come back (C2). Knows nothing of pages: `subscribe` tells that something changed.
 */
import { Connection } from "./connection.js";
import { newId } from "./ids.js";
import { Model } from "./model.js";
import { Outbox } from "./outbox.js";
import { Store } from "./store.js";

const ACK_EVERY = 32;
const ACK_IDLE_MS = 150;
const REFRESH_BEFORE_MS = 60_000;
const TYPING_EVERY_MS = 3_000;
const TYPING_LAPSES_MS = 6_000;

/** @typedef {import("./wire.js").Frame} Frame */
/** @typedef {import("./wire.js").Event} Event */

export class UserClient {
  model = new Model();
  /** @type {import("./wire.js").Person | null} */
  user = null;

  /** Of the server last met, while its snapshot is still on the way. */
  #epoch = "";
  /** Newest usn on disk, and the newest one the server was told of. */
  #durable = 0;
  #acked = 0;
  #ackTimer = 0;
  #refreshTimer = 0;
  #typingUntil = 0;
  /** The newest hello this page knows of: its own, or the one the server told it of. */
  #attempt = 0;
  /** The first hello asks for a snapshot: rides without a conversation have no thread to bring their news. */
  #wantSnapshot = true;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #announced = false;
  /** @type {Set<string>} */
  #loading = new Set();

  /**
   * @param {object} options
   * @param {string} options.url `ws(s)://…/v1/chat`
   * @param {Store} options.store
   * @param {string} options.device a UUID that stays the same on this device
   * @param {(fresh: boolean) => Promise<string>} options.token the user's JWT; `fresh` when the last one was refused
   */
  constructor({ url, store, device, token }) {
    this.store = store;
    this.device = device;
    this.token = token;
    this.connection = new Connection({
      url,
      hello: (fresh) => this.#hello(fresh),
      refused: (error) => (this.#attempt = Math.max(this.#attempt, error.attempt ?? 0)),
      welcomed: (frame) => this.#welcomed(frame),
      received: (frame) => this.#received(frame),
      changed: () => this.#connectionChanged(),
    });
    const passed = (/** @type {number} */ usn) => (this.model.cursor?.usn ?? 0) >= usn;
    this.outbox = new Outbox(store, this.connection, () => this.#announce(), passed);
    document.addEventListener("visibilitychange", () => this.connection.send({ t: "foreground", on: isVisible() }));
  }

  /** Shows what is stored, then connects. */
  async start() {
    const rows = await this.store.load();
    this.model.restore(rows);
    this.outbox.restore(rows.outbox);
    this.#announce();
    this.connection.start();
  }

  /** @param {() => void} listener called once after any number of changes @returns {() => void} unsubscribe */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Begins a conversation with its first message. The id is the client's, so that a retry cannot open a second one.
   * @param {{ transaction?: string, topic?: string, text: string, conversation?: string }} opening
   * @returns {string} the conversation's id
   */
  open({ transaction, topic, text, conversation = newId() }) {
    const at = new Date().toISOString();
    this.outbox.add({ id: newId(), verb: "open", conversation, transaction, topic, body: { kind: "text", text }, at });
    return conversation;
  }

  /** @param {string} conversation @param {string} text */
  send(conversation, text) {
    this.outbox.add({ id: newId(), verb: "send", conversation, body: { kind: "text", text }, at: new Date().toISOString() });
    this.#typingUntil = 0;
  }

  /** @param {string} id of a message that was refused; nobody will send it again */
  async discard(id) {
    if (!this.outbox.take(id)) return;
    this.#announce();
    await this.store.write({ remove: { outbox: [id] } });
  }

  /** The person has seen every message in this conversation. @param {string} id */
  read(id) {
    const conversation = this.model.conversations.get(id);
    const seq = this.model.newestForUser(id);
    // Only messages count. A read mark is an event as well: reading up to the end of the log would never come to an end.
    if (!conversation || seq <= (conversation.summary.user_read_seq ?? 0)) return;
    if (!this.connection.send({ t: "read", conversation: id, seq })) return;
    this.model.markRead(id, seq);
    this.store.write({ put: { conversations: [conversation.summary] } });
    this.#announce();
  }

  /** @param {string} conversation @param {boolean} on */
  typing(conversation, on) {
    if (!this.model.conversations.has(conversation)) return;
    const now = performance.now();
    if (on === now < this.#typingUntil) return;
    this.#typingUntil = on ? now + TYPING_EVERY_MS : 0;
    this.connection.send({ t: "typing", conversation, on });
  }

  /** Fetches the newest page, or the one before what is here. @param {string} id */
  async history(id) {
    const conversation = this.model.conversations.get(id);
    if (!conversation || this.#loading.has(id) || (conversation.loaded && !conversation.more)) return;
    this.#loading.add(id);
    try {
      const before = conversation.loaded ? conversation.events[0]?.seq : undefined;
      const page = await this.connection.request({ t: "history", conversation: id, ...(before && { before }), limit: 50 });
      this.model.applyPage(id, /** @type {any} */ (page));
      await this.store.write({ put: { events: page.events } });
    } catch (error) {
      console.warn("The history could not be read", error);
    } finally {
      this.#loading.delete(id);
      this.#announce();
    }
  }

  /** @param {string} conversation @param {number} score 1 to 5 @param {string} [comment] */
  async rate(conversation, score, comment) {
    await this.connection.request({ t: "rate", conversation, score, ...(comment && { comment }) });
  }

  /** @param {string} conversation @param {number} seq of the message with the button @param {string} button */
  async press(conversation, seq, button) {
    await this.connection.request({ t: "press", conversation, seq, button });
  }

  /** @param {boolean} fresh @returns {Promise<Frame>} */
  async #hello(fresh) {
    const { cursor } = this.model;
    const resume = cursor && !this.#wantSnapshot ? { epoch: cursor.epoch, usn: cursor.usn } : {};
    const device = { id: this.device, platform: "web", sdk: "deskbell-web/0.1", locale: navigator.language };
    const token = await this.token(fresh);
    const attempt = await this.#nextAttempt();
    // Somebody may have counted to the end; without a number the last hello to arrive wins.
    const number = Number.isSafeInteger(attempt) ? { attempt } : {};
    return { t: "hello", token, device, ...resume, foreground: isVisible(), ...number };
  }

  /** C6: stored before it is said. A browser that stores nothing counts as long as the page lives. */
  async #nextAttempt() {
    try {
      this.#attempt = await this.store.next("attempt", this.#attempt);
    } catch (error) {
      console.warn("The number of this hello could not be stored", error);
      this.#attempt += 1;
    }
    return this.#attempt;
  }

  /** @param {Frame} welcome */
  #welcomed(welcome) {
    this.user = welcome.user;
    this.#acked = 0;
    if (welcome.resume === "continued" && this.model.cursor) this.model.cursor.epoch = welcome.epoch;
    this.#epoch = welcome.epoch;
    this.#scheduleRefresh(welcome.token_expires_at);
    this.outbox.flush();
  }

  /** @param {Frame} frame */
  #received(frame) {
    if (frame.t === "event") this.#event(/** @type {any} */ (frame));
    else if (frame.t === "snapshot") this.#snapshot(/** @type {any} */ (frame));
    else if (frame.t === "synced") this.#ackSoon(0);
    else if (frame.t === "signal") this.#signal(/** @type {any} */ (frame));
  }

  /** @param {any} frame */
  #snapshot(frame) {
    this.model.applySnapshot(frame, this.#epoch);
    this.#wantSnapshot = false;
    const conversations = [...this.model.conversations.values()];
    const written = this.store.write({
      clear: ["conversations", "events", "transactions"],
      put: {
        meta: [{ key: "cursor", ...this.model.cursor }],
        conversations: conversations.map((conversation) => conversation.summary),
        events: conversations.flatMap((conversation) => conversation.events),
        transactions: frame.transactions,
      },
    });
    written.then(() => this.#stored(frame.usn));
    this.#announce();
  }

  /** @param {Event & Frame} event */
  #event(event) {
    const cursor = this.model.cursor;
    const usn = /** @type {number} */ (event.usn);
    if (!cursor || usn > cursor.usn + 1) {
      this.connection.reconnect(); // C1: a hole means the stream cannot be trusted from here on
      return;
    }
    if (usn <= cursor.usn) return;
    const { t: _, ...row } = event;
    const transaction = this.model.applyEvent(row);
    const mine = event.author.type === "user" && event.id ? this.outbox.take(event.id) : undefined;
    const summary = this.model.conversations.get(event.conversation)?.summary;
    const written = this.store.write({
      put: {
        meta: [{ key: "cursor", ...this.model.cursor }],
        conversations: [summary],
        events: [row],
        transactions: transaction ? [transaction] : [],
      },
      remove: { outbox: mine ? [mine.id] : [] },
    });
    written.then(() => this.#stored(usn));
    this.#announce();
  }

  /** @param {number} usn that is now on disk, with everything before it */
  #stored(usn) {
    this.#durable = usn;
    this.#ackSoon(usn - this.#acked >= ACK_EVERY ? 0 : ACK_IDLE_MS);
  }

  /** @param {number} delayMs */
  #ackSoon(delayMs) {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = setTimeout(() => {
      if (this.#durable > this.#acked && this.connection.send({ t: "ack", usn: this.#durable })) this.#acked = this.#durable;
    }, delayMs);
  }

  /** @param {any} signal */
  #signal(signal) {
    if (signal.kind === "presence") this.model.agentsOnline = Boolean(signal.agents_online);
    if (signal.kind === "typing") {
      this.model.applyTyping(signal);
      if (signal.on) setTimeout(() => this.#announce(), TYPING_LAPSES_MS + 50);
    }
    this.#announce();
  }

  /** A device renews its token before it runs out; the server gives 25 s of grace after that. @param {string} [expiresAt] */
  #scheduleRefresh(expiresAt) {
    clearTimeout(this.#refreshTimer);
    if (!expiresAt) return;
    const left = Date.parse(expiresAt) - Date.now() - REFRESH_BEFORE_MS;
    this.#refreshTimer = setTimeout(() => this.#refresh(), Math.min(Math.max(left, 10_000), 2 ** 31 - 1));
  }

  async #refresh() {
    try {
      const answer = await this.connection.request({ t: "refresh", token: await this.token(true) });
      this.#scheduleRefresh(answer.token_expires_at);
    } catch (error) {
      console.warn("The token could not be renewed", error);
    }
  }

  #connectionChanged() {
    if (!this.connection.live) {
      this.outbox.rewind();
      clearTimeout(this.#refreshTimer);
      for (const conversation of this.model.conversations.values()) conversation.typing.clear();
    }
    this.#announce();
  }

  #announce() {
    if (this.#announced) return;
    this.#announced = true;
    queueMicrotask(() => {
      this.#announced = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

function isVisible() {
  return document.visibilityState === "visible";
}
