/** Who is signed in, what the inbox shows. The thread on screen has a file of its own (open_thread.js). */
import { signal } from "../vendor.js";
import { openThread, thread } from "./open_thread.js";
import { agent, api, desk, inboxTick } from "./station.js";

/** @typedef {import("../sdk/wire.js").Summary} Summary */
/** @typedef {import("./station.js").Agent} Agent */
/** @typedef {{ id: string, name: string }} App */
/** @typedef {{ status: string, whose: "all" | "me" | "none" }} Filter */

export const STATUSES = /** @type {const} */ (["open", "pending", "snoozed", "resolved"]);
const PAGE = 50;

export const phase = signal(/** @type {"starting" | "signed-out" | "ready"} */ ("starting"));
export const apps = signal(/** @type {App[]} */ ([]));
export const filter = signal(/** @type {Filter} */ ({ status: "open", whose: "all" }));
/** Where the list goes on at the server, by filter; null when it is all here. */
export const cursors = signal(/** @type {Record<string, string | null>} */ ({}));
export const inboxProblem = signal("");

api.signedOut = () => {
  desk.stop();
  thread.value = null;
  phase.value = "signed-out";
};

/** Continues the session of the cookie, if there is one. */
export async function resume() {
  try {
    enter(await api.me());
  } catch {
    phase.value = "signed-out";
  }
}

/** @param {string} email @param {string} password @throws {import("../sdk/admin_api.js").Problem} */
export async function signIn(email, password) {
  await api.signIn(email, password);
  enter(await api.me());
}

export async function signOut() {
  try {
    await api.signOut();
  } finally {
    api.csrfToken = "";
    api.signedOut();
  }
}

/** @param {{ agent: Agent, apps: App[] }} me */
function enter(me) {
  agent.value = me.agent;
  apps.value = me.apps;
  cursors.value = {};
  phase.value = "ready";
  if (me.apps.length > 0) desk.start(me.apps[0].id);
  setFilter(filter.peek());
  followHash();
}

/** The address names the thread, so that reload, back and a link to a colleague work. */
export function followHash() {
  const id = location.hash.match(/^#\/c\/([0-9a-f-]{36})$/)?.[1] ?? null;
  if (phase.peek() === "ready" && id !== (thread.peek()?.id ?? null)) openThread(id);
}

/** @param {Filter} next */
export function setFilter(next) {
  filter.value = next;
  if (!(keyOf(next) in cursors.peek())) loadMore();
}

/** @param {Filter} which */
export function keyOf({ status, whose }) {
  return `${status}/${whose}`;
}

/** Reads the next page of the current filter; the socket keeps what is here up to date. */
export async function loadMore() {
  const current = filter.peek();
  const key = keyOf(current);
  const [first] = apps.peek();
  if (!first || cursors.peek()[key] === null) return;
  try {
    const assignee = current.whose === "all" ? undefined : current.whose;
    const page = await api.conversations({ app: first.id, status: current.status, assignee, cursor: cursors.peek()[key] ?? undefined, limit: PAGE });
    cursors.value = { ...cursors.peek(), [key]: page.next_cursor ?? null };
    inboxProblem.value = "";
    desk.merge(page.items);
  } catch (error) {
    inboxProblem.value = error instanceof Error ? error.message : String(error);
  }
}

/** @param {Summary | undefined} summary @returns {{ id: string, name: string } | null} an assignee comes as an id or as an object */
export function assigneeOf(summary) {
  const assignee = summary?.assignee;
  if (!assignee) return null;
  const id = typeof assignee === "string" ? assignee : assignee.id;
  const name = id === agent.value?.id ? agent.value?.name : assignee.name;
  return { id, name: name ?? "Another agent" };
}

/** @param {Summary} summary @param {Filter} which */
function matches(summary, { status, whose }) {
  if (summary.status !== status) return false;
  const assignee = assigneeOf(summary);
  return whose === "all" || (whose === "none" ? !assignee : assignee?.id === agent.value?.id);
}

/** @param {Summary} summary */
function activity(summary) {
  return summary.last_message?.at ?? summary.opened_at ?? "";
}

/** @returns {Summary[]} what the filter shows, newest activity first */
export function listed() {
  inboxTick.value;
  const which = filter.value;
  return [...desk.inbox.values()].filter((summary) => matches(summary, which)).sort((a, b) => activity(b).localeCompare(activity(a)));
}

/** @param {string} status @returns {number} conversations with something unread, of this status and the chosen owner */
export function unreadOf(status) {
  inboxTick.value;
  const which = { ...filter.value, status };
  return [...desk.inbox.values()].filter((summary) => matches(summary, which) && (summary.agent_unread ?? 0) > 0).length;
}
