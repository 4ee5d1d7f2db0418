/** The list on the left: which conversations wait, for whom, and since when. */
import { html, useEffect, useState } from "../vendor.js";
import { ago } from "../view/dates.js";
import { initials, label } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { preview } from "../view/bodies.js";
import { openThread, thread } from "./open_thread.js";
import { apps, assigneeOf, cursors, filter, inboxProblem, keyOf, listed, loadMore, setFilter, signOut, STATUSES, unreadOf } from "./state.js";
import { agent, desk, inboxTick } from "./station.js";

/** @typedef {import("../sdk/wire.js").Summary} Summary */

const WHOSE = /** @type {const} */ ([["all", "Assigned to anyone"], ["me", "Assigned to me"], ["none", "Unassigned"]]);

/** @param {{ summary: Summary, current: boolean }} properties */
function Row({ summary, current }) {
  const last = summary.last_message;
  const unread = summary.agent_unread ?? 0;
  const name = summary.user?.name ?? summary.user?.external_id ?? "Guest";
  const assignee = assigneeOf(summary);
  const mine = last?.author.type === "agent" && last.author.id === agent.value?.id;
  const who = last?.author.type === "user" ? "" : mine ? "You: " : last ? `${last.author.name ?? "Agent"}: ` : "";
  return html`<button type="button" class=${["row", current && "current", unread && "unread"].filter(Boolean).join(" ")} aria-current=${current ? "true" : undefined} onClick=${() => openThread(summary.id)}>
    <span class="avatar">${initials(name)}</span>
    <span class="row-main">
      <span class="row-top"><span class="row-name">${name}</span><time class="row-time" datetime=${last?.at}>${ago(last?.at ?? summary.opened_at)}</time></span>
      <span class="row-headline">${summary.headline ?? summary.context?.transaction?.title ?? (summary.topic ? label(summary.topic) : "General question")}</span>
      <span class="row-bottom">
        <span class="row-preview">${last ? `${who}${preview(/** @type {any} */ (last))}` : "No messages yet"}</span>
        ${unread > 0
          ? html`<span class="badge" aria-label=${`${unread} unread`}>${unread}</span>`
          : assignee && html`<span class="row-assignee" title=${`Assigned to ${assignee.name}`}>${initials(assignee.name)}</span>`}
      </span>
    </span>
  </button>`;
}

function Connection() {
  inboxTick.value;
  const { connection } = desk;
  if (connection.live || connection.state === "connecting" || connection.state === "greeting" || connection.state === "idle") return null;
  return html`<p class="inbox-banner" role="status">
    <span class="spinner" aria-hidden="true"></span>
    <span>${connection.reason ?? "Reconnecting…"}</span>
    <button type="button" onClick=${() => connection.start()}>Now</button>
  </p>`;
}

function Filters() {
  const which = filter.value;
  return html`<div class="filters">
    <div class="tabs" role="group" aria-label="Status">
      ${STATUSES.map((status) => {
        const count = unreadOf(status);
        return html`<button key=${status} type="button" aria-pressed=${which.status === status} onClick=${() => setFilter({ ...which, status })}>
          ${label(status)}${count > 0 && html`<span class="tab-count" aria-label=${`${count} unread`}>${count}</span>`}
        </button>`;
      })}
    </div>
    <label class="whose"
      ><span class="hidden">Assigned to</span>
      <select value=${which.whose} onChange=${(/** @type {any} */ event) => setFilter({ ...which, whose: event.target.value })}>
        ${WHOSE.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      </select></label
    >
  </div>`;
}

export function Inbox() {
  const [, setMinute] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setMinute((minute) => minute + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  const rows = listed();
  const key = keyOf(filter.value);
  const more = cursors.value[key];
  return html`<nav class="inbox" aria-label="Inbox">
    <header class="inbox-head">
      <img src="/assets/desk/icon.svg" alt="" width="26" height="26" />
      <h1>${apps.value[0]?.name ?? "Inbox"}</h1>
      <span class="avatar small" title=${agent.value?.name}>${initials(agent.value?.name)}</span>
      <button type="button" class="icon-button" aria-label="Sign out" title="Sign out" onClick=${signOut}><${Icon} name="signout" size=${18} /></button>
    </header>
    <${Filters} />
    <${Connection} />
    <ul class="rows">
      ${rows.map((summary) => html`<li key=${summary.id}><${Row} summary=${summary} current=${thread.value?.id === summary.id} /></li>`)}
      ${rows.length === 0 && html`<li class="rows-empty">${inboxProblem.value || (key in cursors.value ? "Nothing here. All quiet." : "Loading…")}</li>`}
      ${more && html`<li><button type="button" class="rows-more" onClick=${loadMore}>Show more</button></li>`}
    </ul>
  </nav>`;
}
