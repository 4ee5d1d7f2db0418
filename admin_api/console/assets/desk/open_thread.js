/** The thread on screen: its events, the facts beside it, and what the agent is about to say. */
import { signal } from "../vendor.js";
import { Problem } from "../sdk/admin_api.js";
import { newId } from "../sdk/ids.js";
import { factsOf } from "../view/facts.js";
import { agent, api, desk } from "./station.js";

/** @typedef {import("../sdk/wire.js").Event} Event */
/** @typedef {import("../sdk/wire.js").Transaction} Transaction */
/** @typedef {"message" | "note"} Kind */
/** @typedef {{ id: string, text: string, newer: Event[] }} Collision */
/** @typedef {{ event: Event, state: "sending" | "failed", problem: string }} Outgoing */

const FIRST_PAGE = 100;
const TYPING_LAPSES_MS = 6_000;

export class Thread {
  /** @type {import("../sdk/wire.js").Person | null} */
  user = null;
  /** @type {import("../sdk/wire.js").ContextSnapshot | null} */
  context = null;
  /** Facts as they are now. @type {Map<string, Transaction>} */
  transactions = new Map();
  /** Labels that changed while the thread was open, by transaction. @type {Map<string, Set<string>>} */
  changed = new Map();
  /** @type {import("../sdk/wire.js").Summary[]} */
  others = [];
  /** @type {Event[]} */
  events = [];
  /** @type {Outgoing[]} */
  outgoing = [];
  /** @type {Map<string, { name: string, until: number }>} */
  typing = new Map();
  /** @type {Collision | null} */
  collision = null;
  problem = "";
  loaded = false;
  /** Newest seq the agent had before them when they last touched the reply: what they are answering. */
  basis = 0;
  /** Newest message of the customer that this page has told the server to be read. */
  readUpTo = 0;
  atEnd = true;

  /** @param {string} id */
  constructor(id) {
    this.id = id;
  }

  get newest() {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** @param {Event} event */
  insert(event) {
    let at = this.events.length;
    while (at > 0 && this.events[at - 1].seq > event.seq) at -= 1;
    if (at > 0 && this.events[at - 1].seq === event.seq) return false;
    this.events.splice(at, 0, event);
    if (event.id) this.outgoing = this.outgoing.filter((one) => one.event.id !== event.id);
    return true;
  }

  /** @param {Transaction} transaction */
  learn(transaction) {
    const known = this.transactions.get(transaction.id);
    if (known && known.version >= transaction.version) return;
    if (known) {
      const before = factsOf(known);
      const fresh = [...factsOf(transaction)].filter(([name, text]) => before.get(name) !== text).map(([name]) => name);
      this.changed.set(transaction.id, new Set(fresh));
    }
    this.transactions.set(transaction.id, transaction);
  }
}

export const thread = signal(/** @type {Thread | null} */ (null));
/** Grows with every change inside the thread. */
export const threadTick = signal(0);
/** Unsent text by conversation. @type {Map<string, { text: string, kind: Kind }>} */
export const drafts = new Map();

const changed = () => (threadTick.value += 1);

/** @param {string | null} id */
export async function openThread(id) {
  if (location.hash !== (id ? `#/c/${id}` : "")) history.pushState(null, "", id ? `#/c/${id}` : location.pathname);
  if (!id) {
    desk.watch(null);
    thread.value = null;
    return;
  }
  const opened = new Thread(id);
  thread.value = opened;
  try {
    const detail = await api.conversation(id);
    if (thread.peek() !== opened) return;
    opened.user = detail.user;
    opened.context = detail.context;
    opened.others = detail.others ?? [];
    for (const transaction of [...(detail.context?.recent ?? []), detail.context?.transaction, ...(detail.transactions ?? [])]) {
      if (transaction) opened.learn(transaction);
    }
    opened.changed.clear();
    desk.merge([detail.conversation]);
    const page = await api.events(id, Math.max(0, detail.conversation.seq - FIRST_PAGE), FIRST_PAGE * 2);
    if (thread.peek() !== opened) return;
    for (const event of page.items) opened.insert(event);
    opened.loaded = true;
    opened.basis = opened.newest;
    desk.watch(id, opened.newest);
  } catch (error) {
    opened.problem = error instanceof Error ? error.message : String(error);
  }
  changed();
}

/** Reads the hundred events before what is here. @param {Thread} current */
export async function loadEarlier(current) {
  const oldest = current.events[0]?.seq ?? 1;
  const after = Math.max(0, oldest - 1 - FIRST_PAGE);
  const page = await api.events(current.id, after, oldest - 1 - after);
  for (const event of page.items) current.insert(event);
  changed();
}

/** @param {Event} event of the watched thread */
function onEvent(event) {
  const current = thread.peek();
  if (!current || current.id !== event.conversation) return;
  current.insert(event);
  current.typing.delete(event.author.id ?? event.author.type);
  if (event.kind === "transaction.updated") current.learn(event.body.transaction);
  changed();
}

/** @param {any} received */
function onSignal(received) {
  const current = thread.peek();
  if (received.kind !== "typing" || received.conversation !== current?.id) return;
  const author = received.author;
  if (!current || !author || author.id === agent.peek()?.id) return;
  const key = author.id ?? author.type;
  if (received.on) {
    current.typing.set(key, { name: author.name ?? (author.type === "user" ? "The customer" : "Another agent"), until: performance.now() + TYPING_LAPSES_MS });
    setTimeout(changed, TYPING_LAPSES_MS + 50);
  } else current.typing.delete(key);
  changed();
}

/** The agent touched the reply: from here on they are answering what is on screen. @param {Thread} current */
export function touched(current) {
  if (current.atEnd) current.basis = current.newest;
}

/**
 * @param {Thread} current
 * @param {Kind} kind
 * @param {string} text
 * @param {{ id?: string, expected?: number }} [again] of an earlier attempt: its id, so that nothing is written twice
 */
export async function write(current, kind, text, { id = newId(), expected = current.basis } = {}) {
  const body = { kind: "text", text };
  const author = { type: /** @type {const} */ ("agent"), id: agent.peek()?.id, name: agent.peek()?.name };
  const event = { conversation: current.id, seq: Number.MAX_SAFE_INTEGER, kind, at: new Date().toISOString(), author, id, body };
  current.collision = null;
  current.outgoing = [...current.outgoing.filter((one) => one.event.id !== id), { event, state: "sending", problem: "" }];
  changed();
  try {
    const stored = kind === "note" ? await api.note(current.id, { id, body }) : await api.reply(current.id, { id, body, expected_seq: expected });
    current.insert(stored);
    current.basis = Math.max(current.basis, stored.seq);
  } catch (error) {
    await refused(current, id, text, expected, error);
  }
  changed();
}

/** @param {Thread} current @param {string} id @param {string} text @param {number} expected @param {unknown} error */
async function refused(current, id, text, expected, error) {
  if (error instanceof Problem && error.code === "conflict") {
    current.outgoing = current.outgoing.filter((one) => one.event.id !== id);
    const newer = error.events ?? (await api.events(current.id, expected, FIRST_PAGE)).items;
    for (const event of newer) current.insert(event);
    current.collision = { id, text, newer: newer.filter((/** @type {Event} */ event) => event.kind === "message" && event.author.id !== agent.peek()?.id) };
    return;
  }
  const problem = error instanceof Error ? error.message : String(error);
  current.outgoing = current.outgoing.map((one) => (one.event.id === id ? { ...one, state: "failed", problem } : one));
}

/** @param {Thread} current @param {string} id */
export function discard(current, id) {
  current.outgoing = current.outgoing.filter((one) => one.event.id !== id);
  changed();
}

/** Everything up to the end is on screen in front of the agent. @param {Thread} current */
export async function markRead(current) {
  const seq = current.events.findLast((event) => event.kind === "message" && event.author.type === "user")?.seq ?? 0;
  const summary = desk.inbox.get(current.id);
  // Judged by the thread, not by the inbox's count of unread messages: that may come later than the message itself.
  if (!current.loaded || seq <= Math.max(current.readUpTo, summary?.agent_read_seq ?? 0)) return;
  const before = current.readUpTo;
  current.readUpTo = seq;
  if (summary) desk.merge([{ ...summary, agent_unread: 0, agent_read_seq: seq }]);
  try {
    await api.read(current.id, seq);
  } catch (error) {
    current.readUpTo = before;
    console.warn("The read mark was not stored", error);
  }
}

/** Runs a change of the conversation and shows why it failed, if it did. @param {Thread} current @param {() => Promise<any>} action */
export async function perform(current, action) {
  current.problem = "";
  try {
    const answer = await action();
    // Some doors answer with the summary, some with the event: only the first is news for the inbox.
    if (answer?.id === current.id && answer.rev !== undefined) desk.merge([answer]);
  } catch (error) {
    current.problem = error instanceof Error ? error.message : String(error);
  }
  changed();
}

desk.onEvent = onEvent;
desk.onSignal = onSignal;
