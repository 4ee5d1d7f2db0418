/**
 * Close codes of protocol.md, "Codes". Those from 4400 on are final: coming back by itself would only repeat the refusal.
 * The one exception, a 4400 before `welcome`, is the connection's.
 */
export const Close = Object.freeze({
  DRAIN: 4000,
  STALLED: 4001,
  NO_PONG: 4002,
  TOKEN_EXPIRED: 4003,
  PROTOCOL_ERROR: 4400,
  LOGGED_OUT: 4401,
  VERSION: 4406,
  REPLACED: 4409,
});

const FINAL = Object.freeze({
  [Close.PROTOCOL_ERROR]: "The server did not understand this client.",
  [Close.LOGGED_OUT]: "This session has ended.",
  [Close.VERSION]: "This page is too old for the server. Reload it.",
  [Close.REPLACED]: "The chat was opened somewhere else on this device.",
});

/**
 * @param {number} code
 * @returns {string | null} why there is no coming back, or null when the client should reconnect
 */
export function finalReason(code) {
  return /** @type {Record<number, string>} */ (FINAL)[code] ?? null;
}
