/** Facts of a transaction as text a person reads. Values come from the app's server and may be anything. */

/** @param {{ value: string, currency: string } | null | undefined} amount @returns {string} "€12.50" */
export function money(amount) {
  if (!amount?.value) return "";
  const value = Number(amount.value);
  try {
    return new Intl.NumberFormat(undefined, { style: "currency", currency: amount.currency }).format(value);
  } catch {
    return `${amount.value} ${amount.currency ?? ""}`.trim(); // an unknown currency code
  }
}

/** @param {string | undefined} name @returns {string} "pickup_address" → "Pickup address" */
export function label(name) {
  const words = (name ?? "").replace(/[_-]+/g, " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}

/** @param {unknown} value @returns {string} */
export function fact(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (Array.isArray(value)) return value.map(fact).join(", ");
  if (typeof value === "object") {
    const record = /** @type {Record<string, unknown>} */ (value);
    if (typeof record.value === "string" && typeof record.currency === "string") return money(/** @type {any} */ (record));
    if (typeof record.name === "string") return record.name;
    return Object.entries(record).map(([name, inner]) => `${label(name)}: ${fact(inner)}`).join(", ");
  }
  return String(value);
}

/** @param {import("../sdk/wire.js").Transaction} transaction @returns {Map<string, string>} every fact under its label, in reading order */
export function factsOf(transaction) {
  const facts = new Map();
  if (transaction.status) facts.set("Status", label(transaction.status));
  if (transaction.amount) facts.set("Amount", money(transaction.amount));
  for (const [name, value] of Object.entries(transaction.attributes ?? {})) {
    const text = fact(value);
    if (text) facts.set(label(name), text);
  }
  return facts;
}

/** Words that many apps use; the status itself is the app's own and may be any text. */
const TONES = /** @type {Record<string, string>} */ ({
  completed: "good", delivered: "good", paid: "good", captured: "good", done: "good",
  cancelled: "bad", canceled: "bad", failed: "bad", declined: "bad", disputed: "bad", "no show": "bad",
  refunded: "warm", pending: "warm",
  requested: "live", accepted: "live", arriving: "live", "driver arriving": "live", "in progress": "live", ongoing: "live",
});

/** @param {string | undefined} status @returns {string} class of its pill: good, bad, warm, live or plain */
export function tone(status) {
  return TONES[(status ?? "").toLowerCase().replaceAll("_", " ")] ?? "plain";
}

/** @param {string | undefined} name @returns {string} up to two letters for an avatar */
export function initials(name) {
  const words = (name ?? "").trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}

/** @param {string | undefined} text a link out of a message @returns {string | null} only http(s): a `javascript:` link would run in our origin */
export function safeUrl(text) {
  try {
    const url = new URL(text ?? "", location.href);
    return text && ["https:", "http:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** @param {string | undefined} text @returns {string | null} an image the content security policy lets through */
export function imageUrl(text) {
  const url = safeUrl(text);
  return url && (url.startsWith("https:") || url.startsWith(location.origin)) ? url : null;
}
