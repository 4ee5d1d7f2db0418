/** Message bodies of protocol.md. Every string is put in as text; links and images pass facts.js first. */
import { html } from "../vendor.js";
import { moment } from "./dates.js";
import { imageUrl, label, money, safeUrl } from "./facts.js";

/** @typedef {import("../sdk/wire.js").Body} Body */

const SIZES = ["bytes", "KB", "MB", "GB"];

/** @param {number} bytes */
function size(bytes) {
  const step = bytes > 0 ? Math.min(Math.floor(Math.log(bytes) / Math.log(1000)), 3) : 0;
  return `${(bytes / 1000 ** step).toFixed(step > 1 ? 1 : 0)} ${SIZES[step]}`;
}

/**
 * @param {object} properties
 * @param {Body} properties.body
 * @param {((id: string, text?: string) => void) | null} [properties.press] answers a button or a choice; null where nothing can be pressed
 * @param {string} [properties.chosen] the button that was pressed
 */
export function MessageBody({ body, press = null, chosen = "" }) {
  switch (body.kind) {
    case "text":
      return html`<p class="body-text">${body.text}</p>`;
    case "card":
      return html`<${Card} body=${body} press=${press} chosen=${chosen} />`;
    case "choices":
      return html`<div class="body-choices">
        <p class="body-text">${body.text}</p>
        <div class="choices">
          ${(body.options ?? []).map(
            (/** @type {any} */ option) =>
              html`<button key=${option.id} class=${option.id === chosen ? "choice chosen" : "choice"} type="button" disabled=${!press} onClick=${() => press?.(option.id, option.label)}>${option.label}</button>`,
          )}
        </div>
      </div>`;
    case "coupon":
      return html`<${Coupon} body=${body} />`;
    case "attachment":
      return html`<${Attachment} body=${body} />`;
    case "transaction":
      return html`<div class="body-card">
        <strong>${body.transaction?.title ?? "Shared a trip"}</strong>
        <span class="muted">${[label(body.transaction?.status), money(body.transaction?.amount)].filter(Boolean).join(" · ")}</span>
      </div>`;
    default:
      return html`<p class="body-text muted">This message needs a newer version of the app.</p>`;
  }
}

/** @param {{ body: Body, press: ((id: string, text?: string) => void) | null, chosen: string }} properties */
function Card({ body, press, chosen }) {
  const image = imageUrl(body.image_url);
  return html`<div class="body-card">
    ${image && html`<img src=${image} alt="" loading="lazy" />`}
    <strong>${body.title}</strong>
    ${body.text && html`<p class="body-text">${body.text}</p>`}
    <div class="choices">
      ${(body.buttons ?? []).map((/** @type {any} */ button) => {
        const url = safeUrl(button.url);
        if (url) return html`<a key=${button.id} class="choice" href=${url} target="_blank" rel="noopener noreferrer">${button.label}</a>`;
        return html`<button key=${button.id} class=${button.id === chosen ? "choice chosen" : "choice"} type="button" disabled=${!press} onClick=${() => press?.(button.id)}>${button.label}</button>`;
      })}
    </div>
  </div>`;
}

/** @param {{ body: Body }} properties */
function Coupon({ body }) {
  const url = safeUrl(body.url);
  const amount = body.amount && body.currency ? money({ value: String(body.amount), currency: body.currency }) : "";
  return html`<div class="body-coupon">
    <span class="coupon-worth">${amount || "Coupon"}</span>
    <span>${body.description}</span>
    <code class="coupon-code">${body.code}</code>
    ${body.expires_at && html`<span class="muted">Valid until ${moment(body.expires_at)}</span>`}
    ${url && html`<a class="choice" href=${url} target="_blank" rel="noopener noreferrer">Use it</a>`}
  </div>`;
}

/** @param {{ body: Body }} properties */
function Attachment({ body }) {
  const url = safeUrl(body.url);
  const picture = body.content_type?.startsWith("image/") ? imageUrl(body.thumbnail_url ?? body.url) : null;
  const inner = picture
    ? html`<img src=${picture} alt=${body.name ?? "Picture"} loading="lazy" />`
    : html`<span class="attachment-name">${body.name ?? "File"}</span><span class="muted">${size(body.size ?? 0)}</span>`;
  return url
    ? html`<a class="body-attachment" href=${url} target="_blank" rel="noopener noreferrer">${inner}</a>`
    : html`<span class="body-attachment">${inner}</span>`;
}

/** @param {Body | undefined} body @returns {string} one line of it, for lists */
export function preview(body) {
  if (!body) return "";
  if (body.text) return body.text;
  const names = /** @type {Record<string, string>} */ ({ attachment: body.name ?? "Attachment", card: body.title ?? "Card", coupon: "Coupon", transaction: "Shared a trip" });
  return names[body.kind] ?? label(body.kind);
}
