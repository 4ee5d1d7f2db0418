/** The strip on top of a phone (desktop only), and the banner that says the truth about the connection. */
import { html, useEffect, useState } from "../vendor.js";
import { Icon } from "../view/icons.js";
import { clock } from "../view/dates.js";
import { client, offline, setOffline, tick } from "./state.js";

const CALM_MS = 1_200;

export function StatusBar() {
  const [now, setNow] = useState(() => new Date().toISOString());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date().toISOString()), 10_000);
    return () => clearInterval(timer);
  }, []);
  return html`<div class="status-bar" aria-hidden="true">
    <span>${clock(now)}</span>
    <span class=${offline.value ? "status-bar-net off" : "status-bar-net"}><${Icon} name="wifi" size=${16} /></span>
  </div>`;
}

export function ConnectionBanner() {
  tick.value;
  const connection = client.value?.connection;
  const state = connection?.state ?? "idle";
  const away = state === "waiting" || state === "connecting" || state === "greeting";
  const [shown, setShown] = useState(false);
  // A short dip is nobody's business: the banner comes only when it lasts.
  useEffect(() => {
    if (!away) {
      setShown(false);
      return undefined;
    }
    const timer = setTimeout(() => setShown(true), CALM_MS);
    return () => clearTimeout(timer);
  }, [away]);

  if (state === "paused" && offline.value) {
    return html`<div class="banner" role="status">
      <span>You’re offline. Messages are kept and sent later.</span>
      <button type="button" onClick=${() => setOffline(false)}>Go online</button>
    </div>`;
  }
  if (state === "stopped") {
    const replaced = connection?.closeCode === 4409;
    return html`<div class="banner strong" role="alert">
      <span>${connection?.reason ?? "The connection was refused."}</span>
      <button type="button" onClick=${() => location.reload()}>${replaced ? "Use here" : "Try again"}</button>
    </div>`;
  }
  if (!shown) return html`<div role="status" class="banner-slot"></div>`;
  return html`<div class="banner" role="status">
    <span class="spinner" aria-hidden="true"></span><span>Reconnecting…</span>
    ${state === "waiting" && html`<button type="button" onClick=${() => connection?.start()}>Now</button>`}
  </div>`;
}
