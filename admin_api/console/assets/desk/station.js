/** The agent's place: who sits there, and the two doors to the server. */
import { signal } from "../vendor.js";
import { AdminApi } from "../sdk/admin_api.js";
import { DeskClient } from "../sdk/desk_client.js";
import { socketUrl } from "../sdk/endpoint.js";

/** @typedef {{ id: string, name: string, email?: string }} Agent */

export const agent = signal(/** @type {Agent | null} */ (null));
/** Grows with every change of the inbox or the connection. */
export const inboxTick = signal(0);

export const api = new AdminApi();
export const desk = new DeskClient({
  url: socketUrl("/v1/desk"),
  token: () => api.csrfToken,
  changed: () => (inboxTick.value += 1),
});
