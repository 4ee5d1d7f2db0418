/** A thread as rows to draw: day lines, runs of messages by one author, system lines. Pure: the same log, the same rows. */
import { label, money } from "./facts.js";
import { day } from "./dates.js";

const RUN_MS = 5 * 60_000;

/** @typedef {import("../sdk/wire.js").Event} Event */
/** @typedef {import("../sdk/outbox.js").Entry} Entry */
/**
 * @typedef {{ row: "day", key: string, text: string }
 *   | { row: "line", key: string, text: string, at: string, event: Event }
 *   | { row: "message", key: string, event: Event, entry: Entry | null, first: boolean, last: boolean }} Row
 */

/**
 * @param {Event[]} events by seq
 * @param {Entry[]} pending not yet in the log, in the order written
 * @param {(event: Event) => string | null} describe a system line for an event that is no message, null for none
 * @returns {Row[]}
 */
export function timeline(events, pending, describe) {
  /** @type {Row[]} */
  const rows = [];
  let shownDay = "";
  const seen = new Set(events.map((event) => event.id).filter(Boolean));
  const waiting = pending.filter((entry) => !seen.has(entry.id)).map(eventOf);
  for (const { event, entry } of [...events.map((event) => ({ event, entry: null })), ...waiting]) {
    const speaks = event.kind === "message" || event.kind === "note";
    const text = speaks ? null : describe(event);
    if (!speaks && !text) continue;
    const today = day(event.at);
    if (today !== shownDay) {
      rows.push({ row: "day", key: `day-${event.seq}-${today}`, text: today });
      shownDay = today;
    }
    if (text) {
      rows.push({ row: "line", key: `line-${event.seq}`, text, at: event.at, event });
      continue;
    }
    const before = rows.at(-1);
    const joins = before?.row === "message" && sameRun(before.event, event);
    if (joins) before.last = false;
    rows.push({ row: "message", key: event.id ?? `seq-${event.seq}`, event, entry, first: !joins, last: true });
  }
  return rows;
}

/** @param {Event} earlier @param {Event} later */
function sameRun(earlier, later) {
  return (
    earlier.kind === later.kind &&
    earlier.author.type === later.author.type &&
    (earlier.author.type === "user" || earlier.author.id === later.author.id) &&
    Date.parse(later.at) - Date.parse(earlier.at) < RUN_MS
  );
}

/** @param {Entry} entry @returns {{ event: Event, entry: Entry }} */
function eventOf(entry) {
  const { id, conversation, body, at } = entry;
  return { event: { conversation, seq: Number.MAX_SAFE_INTEGER, kind: "message", at, author: { type: "user" }, id, body }, entry };
}

/** @param {Event} event a `transaction.updated` @returns {string} "Ride to the airport: Completed · €12.50" */
export function transactionLine(event) {
  const { title, status, amount } = event.body.transaction ?? {};
  const news = [label(status), money(amount)].filter(Boolean).join(" · ");
  return [title ?? "Updated", news].filter(Boolean).join(": ");
}
