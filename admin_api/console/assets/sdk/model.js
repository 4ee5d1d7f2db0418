/**
 * What a device knows: conversations with their events, transactions, and the cursor. Frames in, changed rows out; no
 * I/O, so that the caller can store exactly what changed in one transaction.
 */

/** @typedef {import("./wire.js").Event} Event */
/** @typedef {import("./wire.js").Summary} Summary */
/** @typedef {import("./wire.js").Transaction} Transaction */
/**
 * @typedef {object} Conversation
 * @property {Summary} summary
 * @property {Event[]} events by seq; holes are other people's private notes
 * @property {boolean} loaded whether the newest page is here
 * @property {boolean} more whether older events may exist on the server
 * @property {Map<string, { name: string, until: number }>} typing
 * @property {{ score: number } | null} rating
 * @property {boolean} ratingRequested
 */

/** @param {Summary} summary @returns {Conversation} */
function conversationOf(summary) {
  return { summary, events: [], loaded: false, more: true, typing: new Map(), rating: null, ratingRequested: false };
}

export class Model {
  /** @type {Map<string, Conversation>} */
  conversations = new Map();
  /** @type {Map<string, Transaction>} */
  transactions = new Map();
  /** @type {{ epoch: string, usn: number } | null} */
  cursor = null;
  agentsOnline = false;

  /** @param {Record<string, any[]>} rows of the store */
  restore(rows) {
    this.cursor = rows.meta.find((row) => row.key === "cursor") ?? null;
    for (const summary of rows.conversations) this.conversations.set(summary.id, conversationOf(summary));
    for (const event of rows.events) {
      const conversation = this.conversations.get(event.conversation);
      if (conversation) this.#insert(conversation, event);
    }
    for (const transaction of rows.transactions) this.transactions.set(transaction.id, transaction);
  }

  /**
   * A snapshot replaces the summaries. Stored events stay only where nothing was missed: an event never changes, but a
   * log with an unknown hole in it is worse than one that is fetched again.
   * @param {{ usn: number, conversations: Summary[], transactions: Transaction[] }} snapshot
   * @param {string} epoch
   */
  applySnapshot(snapshot, epoch) {
    const known = this.cursor?.epoch === epoch ? this.conversations : new Map();
    this.conversations = new Map();
    for (const summary of snapshot.conversations) {
      const before = known.get(summary.id);
      const conversation = before?.summary.seq === summary.seq ? before : conversationOf(summary);
      conversation.summary = summary;
      conversation.loaded = false;
      this.conversations.set(summary.id, conversation);
    }
    this.transactions = new Map(snapshot.transactions.map((transaction) => [transaction.id, transaction]));
    this.cursor = { epoch, usn: snapshot.usn };
  }

  /**
   * @param {Event} event of the stream, the next one
   * @returns {Transaction | null} the transaction it brought, when that is news
   */
  applyEvent(event) {
    const conversation = this.conversations.get(event.conversation) ?? this.#discovered(event);
    const { summary } = conversation;
    const news = event.seq > summary.seq;
    summary.seq = Math.max(summary.seq, event.seq);
    this.#insert(conversation, event);
    if (this.cursor && event.usn !== undefined) this.cursor.usn = event.usn;
    conversation.typing.delete(event.author.id ?? event.author.type);
    switch (event.kind) {
      case "conversation.opened":
        if (event.body.context) summary.context = event.body.context;
        if (event.body.topic) summary.topic = event.body.topic;
        break;
      case "message":
        summary.last_message = { seq: event.seq, author: event.author, at: event.at, kind: event.body.kind, text: event.body.text };
        if (news && event.author.type !== "user" && event.seq > (summary.user_read_seq ?? 0)) summary.unread = (summary.unread ?? 0) + 1;
        break;
      case "conversation.status":
        summary.status = event.body.status;
        break;
      case "conversation.assigned":
        summary.assignee = event.body.assignee;
        break;
      case "receipt":
        this.#hasRead(summary, readerOf(event), event.body.seq);
        break;
      case "transaction.updated":
        return this.applyTransaction(event.body.transaction) ? event.body.transaction : null;
    }
    return null;
  }

  /** @param {Transaction} transaction @returns {boolean} false for an older or equal version */
  applyTransaction(transaction) {
    const known = this.transactions.get(transaction.id);
    if (known && known.version >= transaction.version) return false;
    this.transactions.set(transaction.id, transaction);
    return true;
  }

  /** @param {string} id @param {{ events: Event[], more: boolean }} page */
  applyPage(id, page) {
    const conversation = this.conversations.get(id);
    if (!conversation) return;
    for (const event of page.events) this.#insert(conversation, event);
    conversation.loaded = true;
    conversation.more = page.more;
  }

  /** @param {string} id @param {number} seq the user has seen everything up to it on this device */
  markRead(id, seq) {
    const conversation = this.conversations.get(id);
    if (conversation) this.#hasRead(conversation.summary, "user", seq);
  }

  /** @param {string} id @returns {number} the newest message of the other side, as far as this device knows; 0 for none */
  newestForUser(id) {
    const conversation = this.conversations.get(id);
    const last = conversation?.summary.last_message;
    const event = conversation?.events.findLast((one) => one.kind === "message" && one.author.type !== "user");
    return Math.max(event?.seq ?? 0, last && last.author.type !== "user" ? last.seq : 0);
  }

  /** @param {{ conversation: string, author?: import("./wire.js").Author, on?: boolean }} signal */
  applyTyping({ conversation: id, author, on }) {
    const conversation = this.conversations.get(id);
    if (!conversation || !author || author.type === "user") return;
    const key = author.id ?? author.type;
    if (on) conversation.typing.set(key, { name: author.name ?? "Support", until: performance.now() + 6_000 });
    else conversation.typing.delete(key);
  }

  /** @param {Event} event @returns {Conversation} */
  #discovered(event) {
    const conversation = conversationOf({ id: event.conversation, status: "open", seq: 0, rev: 0, unread: 0, opened_at: event.at });
    // Met at its first event: there is nothing older to ask for.
    conversation.loaded = event.seq === 1;
    conversation.more = event.seq !== 1;
    this.conversations.set(event.conversation, conversation);
    return conversation;
  }

  /** @param {Conversation} conversation @param {Event} event */
  #insert(conversation, event) {
    const { events } = conversation;
    let at = events.length;
    while (at > 0 && events[at - 1].seq > event.seq) at -= 1;
    if (at > 0 && events[at - 1].seq === event.seq) return;
    events.splice(at, 0, event);
    if (event.kind === "rating.requested") conversation.ratingRequested = true;
    if (event.kind === "rating.given") conversation.rating = { score: event.body.score };
  }

  /** @param {Summary} summary @param {"user" | "agent"} who @param {number} seq */
  #hasRead(summary, who, seq) {
    if (who === "agent") {
      summary.agent_read_seq = Math.max(summary.agent_read_seq ?? 0, seq);
      return;
    }
    summary.user_read_seq = Math.max(summary.user_read_seq ?? 0, seq);
    const events = this.conversations.get(summary.id)?.events ?? [];
    const upTo = summary.user_read_seq;
    if (upTo >= this.newestForUser(summary.id)) summary.unread = 0;
    else summary.unread = events.filter((event) => event.seq > upTo && event.kind === "message" && event.author.type !== "user").length;
  }
}

/** @param {Event} event a `receipt` @returns {"user" | "agent"} */
export function readerOf(event) {
  const reader = event.body.reader?.type ?? event.body.reader;
  return reader === "user" || reader === "agent" ? reader : event.author.type === "user" ? "user" : "agent";
}
