/** The conversation in the middle. */
import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor.js";
import { MessageBody, preview } from "../view/bodies.js";
import { clock, moment } from "../view/dates.js";
import { initials, label } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { timeline, transactionLine } from "../view/timeline.js";
import { discard, loadEarlier, markRead, threadTick, write } from "./open_thread.js";
import { Reply } from "./reply.js";
import { agent, desk, inboxTick } from "./station.js";
import { ThreadHead } from "./thread_head.js";

/** @typedef {import("../sdk/wire.js").Event} Event */
/** @typedef {import("./open_thread.js").Thread} Thread */
/** @typedef {import("./open_thread.js").Outgoing} Outgoing */

/** @param {Event} event @returns {string | null} */
function describe(event) {
  const me = agent.value?.id;
  const who = event.author.id && event.author.id === me ? "You" : (event.author.name ?? (event.author.type === "user" ? "The customer" : "Deskbell"));
  switch (event.kind) {
    case "conversation.opened": {
      const title = event.body?.context?.transaction?.title;
      return title ? `${who} asked about ${title}` : `${who} opened the conversation`;
    }
    case "conversation.status":
      return `${who} set this to ${event.body.status}`;
    case "conversation.assigned": {
      const { assignee } = event.body;
      if (!assignee) return `${who} unassigned this`;
      const id = typeof assignee === "string" ? assignee : assignee.id;
      return id === me ? `${who} assigned this to you` : `${who} assigned this to ${assignee.name ?? "another agent"}`;
    }
    case "transaction.updated":
      return transactionLine(event);
    case "action.updated": {
      const { title, state, message } = event.body.action ?? {};
      return title ? `${title}: ${state.replaceAll("_", " ")}${message ? `: “${message}”` : ""}` : null;
    }
    case "rating.given":
      return `${who} rated this ${event.body.score} out of 5${event.body.comment ? `: “${event.body.comment}”` : ""}`;
    case "conversation.merged":
      return "Another conversation was merged into this one";
    default:
      return null;
  }
}

/** @param {{ current: Thread }} properties */
export function ThreadView({ current }) {
  threadTick.value;
  inboxTick.value;
  const summary = desk.inbox.get(current.id);
  const events = [...current.events, ...current.outgoing.map((one) => one.event)];
  const rows = timeline(events, [], describe);
  const typing = [...current.typing.values()].filter((one) => one.until > performance.now());
  const { scroller, onScroll } = useEnd(current, rows.length + typing.length);
  const newer = new Set(current.collision?.newer.map((event) => event.seq));
  const states = new Map(current.outgoing.map((one) => [one.event.id, one]));
  const seen = rows.findLast((row) => row.row === "message" && row.event.kind === "message" && row.event.author.type === "agent" && row.event.seq <= (summary?.user_read_seq ?? 0));
  const earlier = (current.events[0]?.seq ?? 1) > 1;

  return html`<main class="thread-pane">
    <${ThreadHead} current=${current} summary=${summary} />
    ${current.problem && html`<p class="thread-problem" role="alert">${current.problem}</p>`}
    <div class="log" ref=${scroller} onScroll=${onScroll} role="log" aria-live="off" aria-label="Messages" tabindex="0">
      ${earlier && html`<button type="button" class="earlier" onClick=${() => loadEarlier(current)}>Show earlier messages</button>`}
      ${rows.map((row) => {
        if (row.row === "day") return html`<p key=${row.key} class="day-line"><span>${row.text}</span></p>`;
        if (row.row === "line") return html`<p key=${row.key} class=${row.event.kind === "transaction.updated" ? "system-line update" : "system-line"}>${row.text} <time datetime=${row.at}>${clock(row.at)}</time></p>`;
        return html`<${Message} key=${row.key} row=${row} current=${current} outgoing=${states.get(row.event.id)} newer=${newer.has(row.event.seq)} seen=${row === seen} />`;
      })}
      ${typing.length > 0 && html`<p class="typing-line">${typing[0].name} is typing<span class="dots" aria-hidden="true">…</span></p>`}
    </div>
    <${Announcer} events=${current.events} loaded=${current.loaded} />
    <${Reply} current=${current} summary=${summary} />
  </main>`;
}

/** @param {{ row: any, current: Thread, outgoing: Outgoing | undefined, newer: boolean, seen: boolean }} properties */
function Message({ row, current, outgoing, newer, seen }) {
  const { event, first, last } = row;
  const theirs = event.author.type === "user";
  const note = event.kind === "note";
  const name = event.author.id && event.author.id === agent.value?.id ? "You" : (event.author.name ?? (theirs ? "Customer" : label(event.author.type)));
  const side = note ? "note" : theirs ? "theirs" : "ours";
  return html`<article class=${["message", side, first && "first", last && "last", newer && "newer", outgoing && "outgoing"].filter(Boolean).join(" ")}>
    ${first && html`<header><span class="avatar small" aria-hidden="true">${initials(event.author.name)}</span><strong>${name}</strong>${note && html`<span class="note-tag"><${Icon} name="note" size=${14} />Note, only for agents</span>`}<time datetime=${event.at} title=${moment(event.at)}>${clock(event.at)}</time></header>`}
    <div class="bubble"><${MessageBody} body=${event.body} /></div>
    ${outgoing?.state === "sending" && html`<p class="message-meta">Sending…</p>`}
    ${outgoing?.state === "failed" &&
    html`<p class="message-meta failed" role="alert">
      <span>Not sent. ${outgoing.problem}</span>
      <button type="button" onClick=${() => write(current, event.kind, event.body.text, { id: event.id })}>Try again</button>
      <button type="button" onClick=${() => discard(current, event.id)}>Remove</button>
    </p>`}
    ${seen && html`<p class="message-meta"><${Icon} name="checks" size=${14} />Seen by the customer</p>`}
  </article>`;
}

/** @param {{ events: Event[], loaded: boolean }} properties */
function Announcer({ events, loaded }) {
  const [text, setText] = useState("");
  const heard = useRef(0);
  const newest = events.findLast((event) => event.kind === "message" && event.author.type === "user");
  useEffect(() => {
    if (!loaded) return;
    if (heard.current && newest && newest.seq > heard.current) setText(`${newest.author.name ?? "Customer"}: ${preview(newest.body)}`);
    heard.current = newest?.seq ?? 1;
  }, [newest?.seq, loaded]);
  return html`<p class="hidden" role="status" aria-live="polite">${text}</p>`;
}

/** Stays at the end for who is at the end, and marks read what is really on screen. @param {Thread} current @param {number} rows */
function useEnd(current, rows) {
  const scroller = useRef(/** @type {HTMLDivElement | null} */ (null));
  const height = useRef(0);
  const oldest = current.events[0]?.seq ?? 0;
  const before = useRef(oldest);

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    if (oldest < before.current && !current.atEnd) box.scrollTop += box.scrollHeight - height.current;
    else if (current.atEnd) box.scrollTop = box.scrollHeight;
    height.current = box.scrollHeight;
    before.current = oldest;
  }, [rows, oldest]);

  useEffect(() => {
    const box = scroller.current;
    if (!box) return undefined;
    const watcher = new ResizeObserver(() => {
      if (current.atEnd) box.scrollTop = box.scrollHeight;
    });
    watcher.observe(box);
    return () => watcher.disconnect();
  }, []);

  const readIfSeen = () => {
    if (document.visibilityState === "visible" && current.atEnd) markRead(current);
  };
  useEffect(() => {
    readIfSeen();
    document.addEventListener("visibilitychange", readIfSeen);
    return () => document.removeEventListener("visibilitychange", readIfSeen);
  }, [current.newest, current.loaded]);

  const onScroll = () => {
    const box = scroller.current;
    if (!box) return;
    current.atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    height.current = box.scrollHeight;
    readIfSeen();
  };
  return { scroller, onScroll };
}
