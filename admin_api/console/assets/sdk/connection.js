/**
 * One WebSocket that comes back by itself: the states of a client's end of protocol.md, shared by a customer's device
 * (`/v1/chat`) and an agent's desk (`/v1/desk`).
 */
import { backoff } from "./backoff.js";
import { Close, finalReason } from "./closing.js";

/** Every transition there is. An event that is missing for a state is ignored there: it belongs to an older socket. */
const TABLE = /** @type {Record<string, Record<string, State>>} */ ({
  idle: { start: "connecting", pause: "paused" },
  connecting: { opened: "greeting", lost: "waiting", refuse: "stopped", pause: "paused" },
  greeting: { welcomed: "live", lost: "waiting", refuse: "stopped", pause: "paused" },
  live: { lost: "waiting", refuse: "stopped", pause: "paused" },
  waiting: { start: "connecting", refuse: "stopped", pause: "paused" },
  paused: { start: "connecting" },
  stopped: { start: "connecting" },
});

const GREETING_MS = 15_000;
const ANSWER_MS = 10_000;
const PONG_MS = 10_000;
const SETTLED_MS = 10_000;
/** How often in a row a 4400 before `welcome` is tried again: the laptop may have slept between the handshake and `hello`. */
const UNHEARD_AT_MOST = 9;

/** @typedef {"idle" | "connecting" | "greeting" | "live" | "waiting" | "paused" | "stopped"} State */
/** @typedef {import("./wire.js").Frame} Frame */

/** An `error` frame, or the loss of the socket (`code` is then `disconnected`). */
export class Refused extends Error {
  /** @param {{ code: string, message?: string, retry?: boolean, retry_after_ms?: number, field?: string, events?: any[] }} error */
  constructor(error) {
    super(error.message || error.code);
    this.code = error.code;
    this.retry = error.retry ?? false;
    this.retryAfterMs = error.retry_after_ms ?? 0;
    this.events = error.events ?? [];
  }
}

export class Connection {
  /** @type {State} */
  state = "idle";
  /** Why the state is `stopped`, as a sentence for a person. @type {string | null} */
  reason = null;
  /** @type {number | null} */
  closeCode = null;
  /** `performance.now()` at which the next attempt is due while `waiting`. @type {number | null} */
  retryAt = null;

  /** @type {WebSocket | null} */
  #socket = null;
  #attempt = 0;
  #liveSince = 0;
  #lastRef = 0;
  /** @type {Map<number, { resolve: (frame: Frame) => void, reject: (error: Refused) => void, timer: number }>} */
  #pending = new Map();
  #timer = 0;
  #heartbeat = 0;
  #lastTraffic = 0;
  /** @type {number | null} */
  #drainMs = null;
  #freshToken = false;
  /** Whether this outage has already asked for a new token: one that is refused as well is the end. */
  #renewed = false;
  #unheard = 0;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {(fresh: boolean) => Promise<Frame>} options.hello makes the first frame; `fresh` asks for a new token
   * @param {(error: Frame) => void} [options.refused] `hello` was answered by this `error`; another may follow
   * @param {(frame: Frame) => void} options.welcomed
   * @param {(frame: Frame) => void} options.received every frame that is no answer to a `ref`
   * @param {() => void} options.changed the state changed
   */
  constructor({ url, hello, refused = () => undefined, welcomed, received, changed }) {
    this.url = url;
    this.hello = hello;
    this.refused = refused;
    this.welcomed = welcomed;
    this.received = received;
    this.changed = changed;
    addEventListener("online", () => this.state === "waiting" && this.start());
  }

  get live() {
    return this.state === "live";
  }

  /** Connects now, also out of `waiting`, `paused` or `stopped`. */
  start() {
    if (this.#move("start")) this.#connect();
  }

  /** Closes and stays away until `start()`. */
  pause() {
    if (this.#move("pause")) this.#drop(1000);
  }

  /** Gives this socket up and comes back after a backoff: after a gap in the stream, or a peer that went silent. */
  reconnect() {
    this.#lost(null);
  }

  /** @param {Frame} frame @returns {boolean} whether it was handed to the socket */
  send(frame) {
    if (!this.live || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /**
   * Sends a frame with a `ref` and waits for its answer.
   * @param {Frame} frame
   * @returns {Promise<Frame>} `ok`, `page` or whatever echoed the ref
   * @throws {Refused} on `error`, on loss of the socket, or after 10 s
   */
  request(frame) {
    this.#lastRef += 1;
    const ref = this.#lastRef;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...frame, ref })) {
        reject(new Refused({ code: "disconnected", retry: true }));
        return;
      }
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new Refused({ code: "unavailable", message: "The server did not answer.", retry: true }));
        this.reconnect();
      }, ANSWER_MS + 2_000);
      this.#pending.set(ref, { resolve, reject, timer });
    });
  }

  /** @param {string} event */
  #move(event) {
    const next = TABLE[this.state][event];
    if (!next) return false;
    this.state = next;
    this.retryAt = null;
    if (next === "connecting") {
      this.reason = null;
      this.closeCode = null;
    }
    clearTimeout(this.#timer);
    queueMicrotask(this.changed);
    return true;
  }

  #connect() {
    const socket = new WebSocket(this.url, ["deskbell.v1.json"]);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(socket), GREETING_MS);
    socket.onopen = async () => {
      if (socket !== this.#socket || !this.#move("opened")) return;
      this.#timer = setTimeout(() => this.#lost(socket), GREETING_MS);
      try {
        const frame = await this.hello(this.#freshToken);
        this.#freshToken = false;
        if (socket === this.#socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
      } catch (error) {
        console.warn("No hello could be made", error);
        this.#lost(socket);
      }
    };
    socket.onmessage = (message) => socket === this.#socket && this.#receive(message.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  /** @param {string} data */
  #receive(data) {
    this.#lastTraffic = performance.now();
    const frame = /** @type {Frame} */ (JSON.parse(data));
    if (this.state === "greeting") {
      if (frame.t === "welcome") this.#welcome(frame);
      else if (frame.t === "error") this.#rejected(frame);
      return;
    }
    if (frame.t === "drain") this.#drainMs = frame.reconnect_after_ms ?? 0;
    else if (frame.ref !== undefined && this.#pending.has(frame.ref)) this.#answer(frame);
    else if (frame.t !== "pong") this.received(frame);
  }

  /** @param {Frame} frame */
  #welcome(frame) {
    this.#liveSince = performance.now();
    this.#drainMs = null;
    this.#renewed = false;
    this.#unheard = 0;
    this.#move("welcomed");
    this.#beat((frame.ping_interval ?? 25) * 1000);
    this.welcomed(frame);
  }

  /** `hello` was answered by an error: only a stale token, a busy server or a stale number are worth another try. @param {Frame} error */
  #rejected(error) {
    this.refused(error);
    if (error.code === "unauthorized" && !this.#renewed) this.#renew();
    else if (error.retry) this.#lost(this.#socket, error.retry_after_ms);
    else {
      console.warn("hello was refused:", error.code, error.message); // the message is for a developer
      this.reason = error.code === "unauthorized" ? "You are not signed in any more." : "The server refused the connection.";
      if (this.#move("refuse")) this.#drop(1000);
    }
  }

  /** @param {Frame} frame */
  #answer(frame) {
    const waiting = this.#pending.get(/** @type {number} */ (frame.ref));
    this.#pending.delete(frame.ref);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    if (frame.t === "error") waiting.reject(new Refused(/** @type {any} */ (frame)));
    else waiting.resolve(frame);
  }

  /** @param {number} code */
  #closed(code) {
    this.closeCode = code;
    const reason = finalReason(code);
    if (code === Close.TOKEN_EXPIRED || (code === Close.LOGGED_OUT && this.state === "greeting" && !this.#renewed)) {
      this.#renew();
    } else if (code === Close.PROTOCOL_ERROR && this.state !== "live" && this.#unheard < UNHEARD_AT_MOST) {
      this.#unheard += 1;
      this.#lost(this.#socket);
    } else if (reason) {
      this.reason = reason;
      if (this.#move("refuse")) this.#drop(1000);
    } else {
      this.#lost(this.#socket, this.#drainMs ?? undefined);
    }
  }

  /** A token that ran out while the laptop slept is refused at the next hello: a new one deserves one try. */
  #renew() {
    this.#renewed = true;
    this.#freshToken = true;
    this.#lost(this.#socket);
  }

  /**
   * @param {WebSocket | null} socket null for whichever is current
   * @param {number} [delayMs] what the server asked for, instead of the backoff
   */
  #lost(socket, delayMs) {
    if (socket && socket !== this.#socket) return;
    if (this.#liveSince && performance.now() - this.#liveSince > SETTLED_MS) this.#attempt = 0;
    this.#liveSince = 0;
    if (!this.#move("lost")) return;
    this.#drop(1000);
    const wait = delayMs ?? backoff(this.#attempt);
    this.#attempt += 1;
    this.retryAt = performance.now() + wait;
    this.#timer = setTimeout(() => this.start(), wait);
  }

  /** @param {number} code */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    clearInterval(this.#heartbeat);
    socket?.close(code);
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new Refused({ code: "disconnected", retry: true }));
    }
    this.#pending.clear();
  }

  /** A browser cannot see control-frame pings, so a visible page asks by itself whether the other end still lives. @param {number} everyMs */
  #beat(everyMs) {
    clearInterval(this.#heartbeat);
    let askedAt = 0;
    this.#lastTraffic = performance.now();
    this.#heartbeat = setInterval(() => {
      const now = performance.now();
      if (askedAt > this.#lastTraffic && now - askedAt > PONG_MS) this.reconnect();
      else if (document.visibilityState === "visible" && now - this.#lastTraffic > everyMs && askedAt <= this.#lastTraffic) {
        askedAt = now;
        this.send({ t: "ping" });
      }
    }, 2_000);
  }
}
