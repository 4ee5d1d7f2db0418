/**
 * Who the page is. An app embeds `/phone#app=…&token=…&name=…` (a fragment never reaches a server's log); without one the
 * demo's own `/demo/session.json` names its customers, and is asked again when a token runs out.
 */

/** @typedef {{ external_id: string, name: string, token: string }} Customer */
/** @typedef {{ app: string, customers: Customer[], renewable: boolean, desk: { email: string } | null }} Session */

const CHOSEN = "kestrel.customer";

/** @param {string} token a JWT; read for display and for naming the local store only, the server is who verifies it */
function subject(token) {
  try {
    const [, payload] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

/** @returns {Promise<Session>} @throws {Error} when neither a fragment nor the demo says who this is */
export async function loadSession() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token) {
    const claims = subject(token);
    const name = fragment.get("name") ?? claims.name ?? "You";
    const app = fragment.get("app") ?? claims.aud ?? "app";
    return { app, customers: [{ external_id: claims.sub ?? "user", name, token }], renewable: false, desk: null };
  }
  const response = await fetch("/demo/session.json", { cache: "no-store" });
  if (!response.ok) throw new Error("This page needs to know who you are: open it as /phone#app=<app id>&token=<user token>.");
  const demo = await response.json();
  return { app: demo.app, customers: demo.users, renewable: true, desk: demo.agent ?? null };
}

/** @param {Session} session @param {string} externalId @param {boolean} fresh @returns {Promise<string>} */
export async function tokenOf(session, externalId, fresh) {
  if (fresh && session.renewable) session.customers = (await loadSession()).customers;
  const customer = session.customers.find((candidate) => candidate.external_id === externalId);
  if (!customer) throw new Error(`There is no customer ${externalId} in this demo any more.`);
  return customer.token;
}

/** @param {Session} session @returns {Customer} the one chosen last in this tab */
export function chosen(session) {
  const last = sessionStorage.getItem(CHOSEN);
  return session.customers.find((customer) => customer.external_id === last) ?? session.customers[0];
}

/** @param {string} externalId */
export function choose(externalId) {
  sessionStorage.setItem(CHOSEN, externalId);
}

/** One device id per customer: on a real phone only one of them would be signed in. @param {string} key @param {() => string} make */
export function deviceId(key, make) {
  const name = `deskbell.device.${key}`;
  const known = localStorage.getItem(name);
  if (known) return known;
  const id = make();
  localStorage.setItem(name, id);
  return id;
}
