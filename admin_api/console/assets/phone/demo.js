/** What is not part of the app: whose phone this is, and an aeroplane mode. Beside the phone, or as a sheet on a real one. */
import { html, signal, useEffect, useId, useRef } from "../vendor.js";
import { initials } from "../view/facts.js";
import { become, client, customer, offline, session, setOffline, tick } from "./state.js";

export const sheetOpen = signal(false);

const STATES = /** @type {Record<string, string>} */ ({
  idle: "Starting", connecting: "Connecting", greeting: "Connecting", live: "Connected",
  waiting: "Reconnecting", paused: "Offline", stopped: "Disconnected",
});

/** @param {{ chosen?: () => void }} properties */
function Controls({ chosen }) {
  const group = useId(); // beside the phone and in its sheet there are two of these, and radio groups span the document
  tick.value;
  const state = client.value?.connection.state ?? "idle";
  const customers = session.value?.customers ?? [];
  return html`
    ${customers.length > 0 &&
    html`<fieldset class="switcher">
      <legend>${customers.length > 1 ? "Whose phone is this?" : "Signed in"}</legend>
      ${customers.map(
        (one) => html`<label key=${one.external_id} class="switcher-row">
          <input
            type="radio"
            name=${group}
            checked=${customer.value?.external_id === one.external_id}
            onChange=${() => {
              become(one.external_id);
              chosen?.();
            }}
          />
          <span class="avatar">${initials(one.name)}</span><span>${one.name}</span>
        </label>`,
      )}
    </fieldset>`}
    <label class="toggle">
      <span><strong>Offline</strong><span class="muted">Messages wait on the phone</span></span>
      <input type="checkbox" role="switch" checked=${offline.value} onChange=${(/** @type {any} */ event) => setOffline(event.target.checked)} />
    </label>
    <p class="connection-state"><span class=${`dot ${state}`} aria-hidden="true"></span>${STATES[state]}</p>
  `;
}

export function DemoPanel() {
  return html`<aside class="demo-panel" aria-label="Demo">
    <div class="demo-brand"><img src="/assets/phone/icon.svg" alt="" width="36" height="36" /><div><strong>Kestrel</strong><span class="muted">A sample ride-hailing app</span></div></div>
    <p>Tap a ride, ask a question, and answer it from <a href="/desk" target="_blank">the agent’s desk</a>. The agent already sees which ride it is about.</p>
    <${Controls} />
  </aside>`;
}

export function DemoSheet() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const open = sheetOpen.value;
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open && dialog.current?.open) dialog.current.close();
  }, [open]);
  const close = () => (sheetOpen.value = false);
  return html`<dialog ref=${dialog} class="sheet" aria-label="Customer and connection" onClose=${close}>
    <${Controls} chosen=${close} />
    <button type="button" class="sheet-close" onClick=${close}>Done</button>
  </dialog>`;
}
