/** Help: conversations there are, and which ride a new one is about. */
import { html } from "../vendor.js";
import { ago } from "../view/dates.js";
import { preview } from "../view/bodies.js";
import { Icon } from "../view/icons.js";
import { Badge } from "./home.js";
import { RideRow } from "./rides.js";
import { ask, conversations, rides, show, tick } from "./state.js";
import { ConnectionBanner } from "./status_bar.js";

/** @param {{ title: string, back: () => void }} properties */
function Bar({ title, back }) {
  return html`<header class="bar">
    <button type="button" class="icon-button" aria-label="Back" onClick=${back}><${Icon} name="back" /></button>
    <h1>${title}</h1>
  </header>`;
}

/** @param {{ conversation: import("../sdk/model.js").Conversation }} properties */
function ConversationRow({ conversation }) {
  const { summary } = conversation;
  const last = summary.last_message;
  const title = summary.context?.transaction?.title ?? summary.topic ?? "General question";
  const resolved = summary.status === "resolved";
  const who = last?.author.type === "user" ? "You: " : "";
  return html`<button
    type="button"
    class=${summary.unread ? "thread-row unread" : "thread-row"}
    onClick=${() => show({ screen: "chat", conversation: summary.id, about: null, topic: null })}
  >
    <span class="thread-main">
      <span class="ride-title">${title}</span>
      <span class="thread-preview">${last ? `${who}${preview(/** @type {any} */ (last))}` : "No messages yet"}</span>
    </span>
    <span class="ride-side">
      <span class="ride-meta">${ago(last?.at ?? summary.opened_at)}</span>
      ${summary.unread ? html`<${Badge} count=${summary.unread} />` : resolved && html`<span class="pill plain">Solved</span>`}
    </span>
  </button>`;
}

export function Help() {
  tick.value;
  const threads = conversations();
  return html`<div class="app">
    <${Bar} title="Help" back=${() => show({ screen: "home" })} />
    <${ConnectionBanner} />
    <div class="scroll">
      ${threads.length > 0 &&
      html`<h2 class="section">Your conversations</h2>
        <ul class="card-list">
          ${threads.map((conversation) => html`<li key=${conversation.summary.id}><${ConversationRow} conversation=${conversation} /></li>`)}
        </ul>`}
      <h2 class="section">Which ride is it about?</h2>
      <ul class="card-list">
        ${rides().map((ride) => html`<li key=${ride.id}><${RideRow} ride=${ride} onClick=${() => ask(ride.id, null)} /></li>`)}
        <li>
          <button type="button" class="ride-row" onClick=${() => ask(null, "general")}>
            <span class="ride-icon"><${Icon} name="help" /></span>
            <span class="ride-main"><span class="ride-title">Something else</span></span>
            <span class="ride-side"><${Icon} name="chevron" size=${16} /></span>
          </button>
        </li>
      </ul>
    </div>
  </div>`;
}
