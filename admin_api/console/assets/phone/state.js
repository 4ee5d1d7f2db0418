/** What the phone shows: the client of the current customer, and which screen is on top. */
import { signal } from "../vendor.js";
import { socketUrl } from "../sdk/endpoint.js";
import { newId } from "../sdk/ids.js";
import { Store } from "../sdk/store.js";
import { UserClient } from "../sdk/user_client.js";
import { choose, chosen, deviceId, tokenOf } from "./session.js";

/** @typedef {{ screen: "home" } | { screen: "help" } | { screen: "chat", conversation: string, about: string | null, topic: string | null }} View */

export const session = signal(/** @type {import("./session.js").Session | null} */ (null));
export const customer = signal(/** @type {import("./session.js").Customer | null} */ (null));
export const client = signal(/** @type {UserClient | null} */ (null));
/** Grows with every change inside the client: what reads the client's model reads this first. */
export const tick = signal(0);
export const view = signal(/** @type {View} */ ({ screen: "home" }));
export const offline = signal(false);
export const problem = signal("");
/** Unsent text by conversation. @type {Map<string, string>} */
export const drafts = new Map();
/** Buttons pressed on this device, `conversation/seq` → button. */
export const pressed = signal(/** @type {Record<string, string>} */ ({}));

const VIEW = "kestrel.view";

/** @param {import("./session.js").Session} found */
export async function begin(found) {
  session.value = found;
  const last = sessionStorage.getItem(VIEW); // before the customer's first screen replaces it
  await become(chosen(found).external_id);
  if (last) show(JSON.parse(last));
}

/** @param {string} externalId the customer whose phone this is from now on */
export async function become(externalId) {
  const current = session.value;
  const next = current?.customers.find((candidate) => candidate.external_id === externalId);
  if (!current || !next) return;
  client.value?.connection.pause();
  choose(externalId);
  const key = `${current.app}.${externalId}`;
  const store = await Store.open(`deskbell.${key}`);
  const made = new UserClient({
    url: socketUrl("/v1/chat"),
    store,
    device: deviceId(key, newId),
    token: (fresh) => tokenOf(current, externalId, fresh),
  });
  made.subscribe(() => {
    if (client.peek() === made) tick.value += 1;
  });
  customer.value = next;
  client.value = made;
  offline.value = false;
  show({ screen: "home" });
  await made.start();
}

/** @param {View} next */
export function show(next) {
  view.value = next;
  sessionStorage.setItem(VIEW, JSON.stringify(next));
}

/** @param {boolean} on the demo's aeroplane mode */
export function setOffline(on) {
  offline.value = on;
  if (on) client.value?.connection.pause();
  else client.value?.connection.start();
}

/** A ride that is already being talked about continues there. @param {string | null} transaction @param {string | null} topic */
export function ask(transaction, topic) {
  const running = conversations().find(
    ({ summary }) => transaction && summary.context?.transaction?.id === transaction && summary.status !== "resolved",
  );
  if (running) show({ screen: "chat", conversation: running.summary.id, about: null, topic: null });
  else show({ screen: "chat", conversation: newId(), about: transaction, topic });
}

/** @returns {import("../sdk/model.js").Conversation[]} newest activity first */
export function conversations() {
  const all = [...(client.value?.model.conversations.values() ?? [])];
  return all.sort((a, b) => newest(b).localeCompare(newest(a)));
}

/** @param {import("../sdk/model.js").Conversation} conversation */
function newest({ summary }) {
  return summary.last_message?.at ?? summary.opened_at ?? "";
}

/** @returns {number} unread messages in all conversations */
export function unread() {
  return conversations().reduce((sum, conversation) => sum + (conversation.summary.unread ?? 0), 0);
}

/** @returns {import("../sdk/wire.js").Transaction[]} newest first */
export function rides() {
  const all = [...(client.value?.model.transactions.values() ?? [])];
  return all.sort((a, b) => (b.occurred_at ?? "").localeCompare(a.occurred_at ?? ""));
}

/** @param {import("../sdk/wire.js").Summary | undefined} summary @param {string | null} about @returns {import("../sdk/wire.js").Transaction | null} as it is now */
export function rideOf(summary, about) {
  const frozen = summary?.context?.transaction ?? null;
  const id = frozen?.id ?? about;
  return (id && client.value?.model.transactions.get(id)) || frozen;
}
