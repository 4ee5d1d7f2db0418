/** A message, its state, and the voice that reads new ones out. */
import { html, useEffect, useRef, useState } from "../vendor.js";
import { MessageBody, preview } from "../view/bodies.js";
import { clock } from "../view/dates.js";
import { Icon } from "../view/icons.js";
import { client, pressed, tick } from "./state.js";

/** @typedef {Extract<import("../view/timeline.js").Row, { row: "message" }>} MessageRow */

/** @param {{ row: MessageRow, summary: import("../sdk/wire.js").Summary | undefined, lastMine: boolean }} properties */
export function Bubble({ row, summary, lastMine }) {
  const { event, entry, first, last } = row;
  const mine = event.author.type === "user";
  const key = `${event.conversation}/${event.seq}`;
  const choice = pressed.value[key];
  const press = async (/** @type {string} */ button) => {
    pressed.value = { ...pressed.value, [key]: button };
    try {
      await client.value?.press(event.conversation, event.seq, button);
    } catch {
      const { [key]: _, ...others } = pressed.value; // not taken: let them press again
      pressed.value = others;
    }
  };
  const classes = ["message", mine ? "mine" : "theirs", first && "first", last && "last", entry && entry.state !== "accepted" && "pending"];
  return html`<article class=${classes.filter(Boolean).join(" ")} data-kind=${event.body.kind}>
    <span class="hidden">${mine ? "You" : (event.author.name ?? "Support")}, ${clock(event.at)}:</span>
    ${!mine && first && html`<span class="message-author" aria-hidden="true">${event.author.name ?? "Support"}</span>`}
    <div class="bubble"><${MessageBody} body=${event.body} press=${mine || choice ? null : press} chosen=${choice} /></div>
    ${entry?.state === "failed"
      ? html`<${Failed} entry=${entry} />`
      : (last || lastMine || entry) && html`<p class="message-meta">${last && html`<time datetime=${event.at}>${clock(event.at)}</time>`}${mine && (lastMine || entry) && html`<${State} event=${event} entry=${entry} summary=${summary} />`}</p>`}
  </article>`;
}

/** @param {{ event: import("../sdk/wire.js").Event, entry: MessageRow["entry"], summary: import("../sdk/wire.js").Summary | undefined }} properties */
function State({ event, entry, summary }) {
  tick.value;
  if (entry && entry.state !== "accepted") {
    const text = client.value?.connection.live ? "Sending" : "Waiting for a connection";
    return html`<span class="state waiting" data-state="waiting"><${Icon} name="clock" size=${14} />${text}</span>`;
  }
  if (!entry && (summary?.agent_read_seq ?? 0) >= event.seq) {
    return html`<span class="state read" data-state="read"><${Icon} name="checks" size=${14} />Read</span>`;
  }
  return html`<span class="state" data-state="sent"><${Icon} name="check" size=${14} />Sent</span>`;
}

/** @param {{ entry: import("../sdk/outbox.js").Entry }} properties */
function Failed({ entry }) {
  return html`<p class="message-meta failed" role="alert" data-state="failed">
    <${Icon} name="alert" size=${14} /><span>${entry.problem}</span>
    <button type="button" onClick=${() => client.value?.outbox.retry(entry.id)}>Try again</button>
    <button type="button" onClick=${() => client.value?.discard(entry.id)}>Remove</button>
  </p>`;
}

/**
 * Reads new messages of the other side out, once; pages of history stay silent.
 * @param {{ rows: import("../view/timeline.js").Row[], ready: boolean }} properties
 */
export function Announcer({ rows, ready }) {
  const [text, setText] = useState("");
  const heard = useRef(0);
  const theirs = rows.filter((row) => row.row === "message" && row.event.author.type !== "user").map((row) => /** @type {MessageRow} */ (row).event);
  const newest = theirs.at(-1);
  useEffect(() => {
    if (!newest || !ready) return;
    if (heard.current && newest.seq > heard.current) setText(`${newest.author.name ?? "Support"}: ${preview(newest.body)}`);
    heard.current = newest.seq;
  }, [newest?.seq, ready]);
  useEffect(() => {
    if (ready && !heard.current) heard.current = newest?.seq ?? 1;
  }, [ready]);
  return html`<p class="hidden" role="status" aria-live="polite">${text}</p>`;
}
