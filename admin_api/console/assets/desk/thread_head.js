/** Who this is, whose it is, and in which state. */
import { html, useRef } from "../vendor.js";
import { moment } from "../view/dates.js";
import { initials, label } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { openThread, perform } from "./open_thread.js";
import { panelOpen } from "./panel.js";
import { assigneeOf, STATUSES } from "./state.js";
import { agent, api } from "./station.js";

/** @returns {[string, Date][]} */
function snoozes() {
  const now = new Date();
  const morning = (/** @type {number} */ days) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, 9);
  const toMonday = (8 - now.getDay()) % 7 || 7;
  /** @type {[string, Date][]} */
  const times = [["For an hour", new Date(now.getTime() + 3_600_000)], ["Until tomorrow", morning(1)]];
  return toMonday > 1 ? [...times, ["Until next week", morning(toMonday)]] : times;
}

/** @param {{ current: import("./open_thread.js").Thread, status: string }} properties */
function Statuses({ current, status }) {
  const menu = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const close = () => menu.current?.removeAttribute("open");
  const set = (/** @type {string} */ next, /** @type {string} */ until = "") => perform(current, () => api.setStatus(current.id, next, until || undefined));
  return html`<div class="statuses" role="group" aria-label="Status">
    ${STATUSES.map((one) =>
      one === "snoozed"
        ? html`<details
            key=${one}
            class="menu"
            ref=${menu}
            onFocusOut=${(/** @type {FocusEvent} */ event) => event.relatedTarget instanceof Node && !menu.current?.contains(event.relatedTarget) && close()}
            onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && close()}
          >
            <summary class=${status === one ? "on" : ""} aria-label="Snooze">${status === one ? "Snoozed" : "Snooze"}</summary>
            <div class="menu-list">
              ${snoozes().map(
                ([text, until]) => html`<button
                  key=${text}
                  type="button"
                  onClick=${() => {
                    close();
                    set("snoozed", until.toISOString());
                  }}
                >
                  <span>${text}</span><span class="muted">${moment(until.toISOString())}</span>
                </button>`,
              )}
            </div>
          </details>`
        : html`<button key=${one} type="button" aria-pressed=${status === one} onClick=${() => status !== one && set(one)}>${label(one)}</button>`,
    )}
  </div>`;
}

/** @param {{ current: import("./open_thread.js").Thread, summary: import("../sdk/wire.js").Summary | undefined }} properties */
export function ThreadHead({ current, summary }) {
  const name = current.user?.name ?? summary?.user?.name ?? summary?.user?.external_id ?? "";
  const assignee = assigneeOf(summary);
  const mine = assignee?.id === agent.value?.id;
  const assign = () => perform(current, () => api.assign(current.id, mine ? null : (agent.value?.id ?? null)));
  return html`<header class="thread-head">
    <button type="button" class="icon-button back" aria-label="Back to the inbox" onClick=${() => openThread(null)}><${Icon} name="back" /></button>
    <span class="avatar" aria-hidden="true">${initials(name)}</span>
    <div class="thread-who">
      <h2>${name}</h2>
      <p>${assignee ? (mine ? "Assigned to you" : `Assigned to ${assignee.name}`) : "Unassigned"}</p>
    </div>
    <button type="button" class="quiet assign" onClick=${assign}>${mine ? "Release" : "Assign to me"}</button>
    ${summary && html`<${Statuses} current=${current} status=${summary.status} />`}
    <button type="button" class="icon-button details" aria-label="Details" aria-expanded=${panelOpen.value} onClick=${() => (panelOpen.value = !panelOpen.value)}><${Icon} name="car" /></button>
  </header>`;
}
