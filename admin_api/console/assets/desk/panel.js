/** Beside the thread: the ride as it was when the customer wrote, what changed since, and who they are. */
import { html, signal } from "../vendor.js";
import { ago, moment } from "../view/dates.js";
import { fact, factsOf, imageUrl, label, money, safeUrl, tone } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { openThread, threadTick } from "./open_thread.js";

/** @typedef {import("../sdk/wire.js").Transaction} Transaction */
/** @typedef {import("./open_thread.js").Thread} Thread */

/** Only narrow windows hide the panel; there this says whether it is out. */
export const panelOpen = signal(false);

/** @param {{ status: string | undefined }} properties */
function Pill({ status }) {
  return status ? html`<span class=${`pill ${tone(status)}`}>${label(status)}</span>` : null;
}

/** @param {{ now: Transaction, then: Transaction | null, fresh: Set<string> | undefined }} properties */
function Facts({ now, then, fresh }) {
  const before = then ? factsOf(then) : null;
  const after = factsOf(now);
  return html`<dl class="facts">
    ${[...after].map(([name, text]) => {
      const old = before?.get(name);
      const changed = before !== null && old !== text;
      return html`<div key=${`${name}-${fresh?.has(name) ? now.version : ""}`} class=${["fact", changed && "changed", fresh?.has(name) && "fresh"].filter(Boolean).join(" ")}>
        <dt>${name}</dt>
        <dd>${changed && old && html`<del><span class="hidden">was </span>${old}</del>${" "}`}${changed ? html`<ins>${text}</ins>` : text}</dd>
      </div>`;
    })}
  </dl>`;
}

/** @param {{ current: Thread }} properties */
function Ride({ current }) {
  const then = current.context?.transaction ?? null;
  const now = then ? (current.transactions.get(then.id) ?? then) : null;
  if (!then || !now) return html`<section class="panel-section"><h3>About</h3><p class="muted">Not about a particular ride.</p></section>`;
  const url = safeUrl(now.url);
  const image = imageUrl(now.image_url);
  const changed = now.version > then.version;
  return html`<section class="panel-section ride" aria-label="The ride">
    <h3>${label(now.kind ?? "ride")}</h3>
    <div class="ride-head">
      ${image ? html`<img src=${image} alt="" />` : html`<span class="ride-icon"><${Icon} name="car" /></span>`}
      <div><strong>${now.title ?? now.id}</strong><span class="muted">${moment(now.occurred_at)}</span></div>
      <${Pill} status=${now.status} />
    </div>
    ${changed && html`<p class="changed-hint"><${Icon} name="alert" size=${15} />Changed since the customer wrote</p>`}
    <${Facts} now=${now} then=${then} fresh=${current.changed.get(now.id)} />
    <p class="ride-id"><code>${now.id}</code>${url && html`<a href=${url} target="_blank" rel="noopener noreferrer">Open in your system</a>`}</p>
  </section>`;
}

/** @param {{ current: Thread }} properties */
function Recent({ current }) {
  const about = current.context?.transaction?.id;
  const frozen = new Map((current.context?.recent ?? []).map((one) => [one.id, one]));
  const rides = [...current.transactions.values()].filter((one) => one.id !== about).sort((a, b) => (b.occurred_at ?? "").localeCompare(a.occurred_at ?? ""));
  if (rides.length === 0) return null;
  return html`<section class="panel-section"><h3>Recent</h3>
    <ul class="recent">
      ${rides.map(
        (ride) => html`<li key=${ride.id}><details>
          <summary>
            <span class="recent-main"><span class="recent-title">${ride.title ?? ride.id}</span><span class="muted">${[moment(ride.occurred_at), money(ride.amount)].filter(Boolean).join(" · ")}</span></span>
            <${Pill} status=${ride.status} />
          </summary>
          <${Facts} now=${ride} then=${frozen.get(ride.id) ?? null} fresh=${current.changed.get(ride.id)} />
        </details></li>`,
      )}
    </ul>
  </section>`;
}

/** @param {{ current: Thread }} properties */
function Customer({ current }) {
  const { user } = current;
  if (!user) return null;
  /** @type {[string, unknown][]} */
  const rows = [["E-mail", user.email], ["Phone", user.phone], ["Language", user.locale], ["Id", user.external_id]];
  const properties = Object.entries(user.properties ?? {}).map(([name, value]) => [label(name), value]);
  return html`<section class="panel-section"><h3>Customer</h3>
    <dl class="facts">
      ${[...rows, ...properties].map(([name, value]) => fact(value) && html`<div key=${name} class="fact"><dt>${name}</dt><dd>${fact(value)}</dd></div>`)}
    </dl>
  </section>`;
}

/** @param {{ current: Thread }} properties */
function Others({ current }) {
  if (current.others.length === 0) return null;
  return html`<section class="panel-section"><h3>Other conversations</h3>
    <ul class="recent">
      ${current.others.map(
        (other) => html`<li key=${other.id}>
          <button type="button" class="other" onClick=${() => openThread(other.id)}>
            <span class="recent-main"><span class="recent-title">${other.headline ?? other.context?.transaction?.title ?? other.topic ?? "General question"}</span><span class="muted">${ago(other.last_message?.at ?? other.opened_at)}</span></span>
            <span class="pill plain">${label(other.status)}</span>
          </button>
        </li>`,
      )}
    </ul>
  </section>`;
}

/** @param {{ current: Thread }} properties */
export function Panel({ current }) {
  threadTick.value;
  return html`<aside class="panel" aria-label="Context">
    <button type="button" class="icon-button panel-close" aria-label="Close details" onClick=${() => (panelOpen.value = false)}><${Icon} name="chevron" /></button>
    ${current.loaded ? html`<${Ride} current=${current} /><${Customer} current=${current} /><${Recent} current=${current} /><${Others} current=${current} />` : html`<p class="panel-loading muted">${current.problem ? "" : "Loading…"}</p>`}
  </aside>`;
}
