/** The sample app's first screen: recent rides, and the way to help. */
import { html } from "../vendor.js";
import { initials } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { preview } from "../view/bodies.js";
import { sheetOpen } from "./demo.js";
import { RideRow } from "./rides.js";
import { ask, client, conversations, customer, rides, show, tick, unread } from "./state.js";
import { ConnectionBanner } from "./status_bar.js";

function greeting() {
  const hour = new Date().getHours();
  return hour < 5 || hour >= 18 ? "Good evening" : hour < 12 ? "Good morning" : "Good afternoon";
}

/** @param {{ count: number }} properties */
export function Badge({ count }) {
  return count > 0 ? html`<span class="badge" aria-label=${`${count} unread`}>${count > 99 ? "99+" : count}</span>` : null;
}

export function Home() {
  tick.value;
  const name = customer.value?.name ?? "";
  const list = rides();
  const waiting = conversations().find((conversation) => (conversation.summary.unread ?? 0) > 0);
  const syncing = !client.value?.model.cursor;
  return html`<div class="app home">
    <header class="home-head">
      <div class="home-brand"><img src="/assets/phone/icon.svg" alt="" width="28" height="28" /><span>Kestrel</span></div>
      <button type="button" class="avatar-button" aria-label="Customer and connection" onClick=${() => (sheetOpen.value = true)}>
        <span class="avatar">${initials(name)}</span>
      </button>
    </header>
    <${ConnectionBanner} />
    <div class="scroll">
      <h1 class="hello">${greeting()},<br />${name.split(" ")[0]}</h1>
      ${waiting &&
      html`<button type="button" class="reply-card" onClick=${() => show({ screen: "chat", conversation: waiting.summary.id, about: null, topic: null })}>
        <span class="reply-card-text">
          <strong>${waiting.summary.last_message?.author.name ?? "Support"} replied</strong>
          <span>${preview(/** @type {any} */ (waiting.summary.last_message))}</span>
        </span>
        <${Badge} count=${waiting.summary.unread ?? 0} />
      </button>`}
      <h2 class="section">Recent rides</h2>
      ${list.length > 0
        ? html`<ul class="card-list">
            ${list.map((ride) => html`<li key=${ride.id}><${RideRow} ride=${ride} onClick=${() => ask(ride.id, null)} /></li>`)}
          </ul>`
        : html`<p class="card-list empty-list">${syncing ? "Loading your rides…" : "No rides yet."}</p>`}
      <p class="hint">Tap a ride to get help with it.</p>
    </div>
    <footer class="home-foot">
      <button type="button" class="help-button" onClick=${() => show({ screen: "help" })}>
        <${Icon} name="help" /><span>Help</span><${Badge} count=${unread()} />
      </button>
    </footer>
  </div>`;
}
