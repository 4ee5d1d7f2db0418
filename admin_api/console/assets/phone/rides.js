/** A ride as the app shows it. */
import { html } from "../vendor.js";
import { moment } from "../view/dates.js";
import { fact, label, money, tone } from "../view/facts.js";
import { Icon } from "../view/icons.js";

/** @typedef {import("../sdk/wire.js").Transaction} Transaction */

/** @param {Transaction} ride @param {string[]} names */
function attribute(ride, ...names) {
  for (const name of names) {
    const text = fact(ride.attributes?.[name]);
    if (text) return text;
  }
  return "";
}

/** @param {{ status: string | undefined }} properties */
export function Pill({ status }) {
  return status ? html`<span class=${`pill ${tone(status)}`}>${label(status)}</span>` : null;
}

/** @param {{ ride: Transaction, onClick?: () => void }} properties */
export function RideRow({ ride, onClick }) {
  const inner = html`
    <span class="ride-icon"><${Icon} name="car" /></span>
    <span class="ride-main">
      <span class="ride-title">${ride.title ?? ride.id}</span>
      <span class="ride-meta">${moment(ride.occurred_at)}</span>
    </span>
    <span class="ride-side"><span class="ride-amount">${money(ride.amount)}</span><${Pill} status=${ride.status} /></span>
  `;
  return onClick
    ? html`<button type="button" class="ride-row" onClick=${onClick}>${inner}</button>`
    : html`<div class="ride-row">${inner}</div>`;
}

/** The ride a conversation is about: short enough to stay on top while one reads. @param {{ ride: Transaction }} properties */
export function RideCard({ ride }) {
  const from = attribute(ride, "pickup", "from", "origin", "pickup_address");
  const to = attribute(ride, "dropoff", "to", "destination", "dropoff_address");
  const driver = attribute(ride, "driver", "driver_name");
  const vehicle = attribute(ride, "vehicle", "car", "plate");
  return html`<section class="ride-card" aria-label="The ride this is about">
    <div class="ride-card-top">
      <span class="ride-icon"><${Icon} name="car" /></span>
      <span class="ride-main">
        <span class="ride-title">${ride.title ?? ride.id}</span>
        <span class="ride-meta">${[moment(ride.occurred_at), money(ride.amount)].filter(Boolean).join(" · ")}</span>
      </span>
      <${Pill} status=${ride.status} />
    </div>
    ${(from || to || driver) &&
    html`<details class="ride-card-more">
      <summary>Ride details</summary>
      ${from && to && html`<ol class="route"><li>${from}</li><li>${to}</li></ol>`}
      ${(driver || vehicle) && html`<p class="ride-meta">${[driver, vehicle].filter(Boolean).join(" · ")}</p>`}
    </details>`}
  </section>`;
}
