/** Line icons on a 20 px grid, drawn in `currentColor`. Decorative: what they mean is always said in words beside or in a label. */
import { html } from "../vendor.js";

const PATHS = /** @type {Record<string, string>} */ ({
  back: "M12 4 6 10l6 6",
  chevron: "m8 5 5 5-5 5",
  send: "M10 16V4M4.5 9.5 10 4l5.5 5.5",
  help: "M10 17.5a7.5 7.5 0 1 0-7.5-7.5c0 1.4.4 2.7 1 3.8L2.5 17.5l3.7-1A7.5 7.5 0 0 0 10 17.5ZM8 8a2 2 0 1 1 2.7 1.9c-.5.2-.7.5-.7 1.1M10 13.4v.1",
  car: "M3 11.5h14v4h-2M3 11.5v4h2m-2-4 1.8-5a1.5 1.5 0 0 1 1.4-1h7.6a1.5 1.5 0 0 1 1.4 1l1.8 5M7 15.5h6M6.5 15.5a1.5 1.5 0 1 1-3 0m13 0a1.5 1.5 0 1 1-3 0",
  check: "m4.5 10.5 3.5 3.5 7.5-8",
  checks: "m2 10.5 3.2 3.2L11.5 7M9 13l.8.7L16.5 7",
  clock: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm0-11v4l2.6 1.6",
  alert: "M10 6.5v4M10 13.4v.1M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15Z",
  note: "M5 3.5h10v9L11.5 16.5H5v-13Zm10 9h-3.5v4M8 7.5h4M8 10.5h2",
  star: "m10 3 2.1 4.4 4.9.6-3.6 3.3.9 4.8L10 13.7 5.7 16.1l.9-4.8L3 8l4.9-.6L10 3Z",
  wifi: "M3 8.5a10 10 0 0 1 14 0M5.5 11.3a6.5 6.5 0 0 1 9 0M8 14a3 3 0 0 1 4 0M10 16.5v.1",
  signout: "M8 3.5H4v13h4M12.5 6.5 16 10l-3.5 3.5M16 10H8",
});

/** @param {{ name: string, size?: number }} properties */
export function Icon({ name, size = 20 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
