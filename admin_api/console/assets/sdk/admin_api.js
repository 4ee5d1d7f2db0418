/** The agents' REST door, `/admin/v1` (http.md), from a page of the same origin: cookie session plus CSRF header. */

/** A problem+json answer, or no answer at all (`status` 0). */
export class Problem extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail || problem?.title || "The server could not be reached.");
    this.status = status;
    this.code = problem?.code ?? "unavailable";
    this.field = problem?.field;
    /** @type {import("./wire.js").Event[] | undefined} the newer events, of a `conflict` */
    this.events = problem?.events;
  }
}

export class AdminApi {
  csrfToken = "";
  /** Called when the session is gone, so that the page can ask for the password again. @type {() => void} */
  signedOut = () => undefined;

  /** @returns {Promise<any>} `{agent, apps, csrf_token}` */
  async me() {
    const me = await this.#call("GET", "/admin/v1/me");
    this.csrfToken = me.csrf_token;
    return me;
  }

  /** @param {string} email @param {string} password */
  async signIn(email, password) {
    const session = await this.#call("POST", "/admin/v1/session", { email, password });
    this.csrfToken = session.csrf_token;
    return session;
  }

  signOut() {
    return this.#call("DELETE", "/admin/v1/session");
  }

  /** @param {{ app: string, status?: string, assignee?: string, cursor?: string, limit?: number }} filter */
  conversations(filter) {
    const query = new URLSearchParams(Object.entries(filter).flatMap(([name, value]) => (value ? [[name, String(value)]] : [])));
    return this.#call("GET", `/admin/v1/conversations?${query}`);
  }

  /** @param {string} id @returns {Promise<any>} `{conversation, user, context, transactions, others}` */
  conversation(id) {
    return this.#call("GET", `/admin/v1/conversations/${id}`);
  }

  /** @param {string} id @param {number} after @param {number} limit */
  events(id, after, limit) {
    return this.#call("GET", `/admin/v1/conversations/${id}/events?after=${after}&limit=${limit}`);
  }

  /** @param {string} id @param {{ id: string, body: import("./wire.js").Body, expected_seq?: number }} message */
  reply(id, message) {
    return this.#call("POST", `/admin/v1/conversations/${id}/messages`, message);
  }

  /** @param {string} id @param {{ id: string, body: import("./wire.js").Body }} note */
  note(id, note) {
    return this.#call("POST", `/admin/v1/conversations/${id}/notes`, note);
  }

  /** @param {string} id @param {string} status @param {string} [snoozedUntil] */
  setStatus(id, status, snoozedUntil) {
    return this.#call("POST", `/admin/v1/conversations/${id}/status`, { status, ...(snoozedUntil && { snoozed_until: snoozedUntil }) });
  }

  /** @param {string} id @param {string | null} agent */
  assign(id, agent) {
    return this.#call("POST", `/admin/v1/conversations/${id}/assignment`, { agent });
  }

  /** @param {string} id @param {number} seq */
  read(id, seq) {
    return this.#call("POST", `/admin/v1/conversations/${id}/read`, { seq });
  }

  /** @param {string} method @param {string} path @param {any} [body] */
  async #call(method, path, body) {
    const headers = /** @type {Record<string, string>} */ ({ Accept: "application/json" });
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET" && this.csrfToken) headers["X-CSRF-Token"] = this.csrfToken;
    let response;
    try {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      response = await fetch(path, { method, headers, body: payload, credentials: "same-origin" });
    } catch {
      throw new Problem(0, null);
    }
    const text = await response.text();
    let answer = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      answer = null; // a proxy's error page: the status says enough
    }
    if (response.ok) return answer;
    if (response.status === 401 && this.csrfToken) {
      this.csrfToken = "";
      this.signedOut();
    }
    throw new Problem(response.status, answer);
  }
}
