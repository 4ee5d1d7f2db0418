/**
 * The shapes of protocol.md that the pages read, as JSDoc types. Nothing runs here.
 *
 * @typedef {{ t: string, [field: string]: any }} Frame
 * @typedef {{ type: "user" | "agent" | "bot" | "system", id?: string, name?: string, avatar_url?: string }} Author
 * @typedef {{ kind: string, [field: string]: any }} Body
 * @typedef {object} Event
 * @property {number} [usn] only in a user's own stream
 * @property {string} conversation
 * @property {number} seq
 * @property {string} kind
 * @property {string} at RFC 3339, for display only
 * @property {Author} author
 * @property {string} [id] the sender's message id
 * @property {any} body
 *
 * @typedef {object} Transaction
 * @property {string} id
 * @property {number} version
 * @property {string} [kind]
 * @property {string} [status]
 * @property {string} [title]
 * @property {{ value: string, currency: string }} [amount]
 * @property {string} [occurred_at]
 * @property {string} [url]
 * @property {string} [image_url]
 * @property {Record<string, any>} [attributes]
 *
 * @typedef {{ transaction?: Transaction | null, recent?: Transaction[], frozen_at?: string }} ContextSnapshot
 * @typedef {{ seq: number, author: Author, at: string, kind: string, text?: string }} LastMessage
 * @typedef {{ id: string, external_id?: string, name?: string, email?: string, phone?: string, locale?: string, properties?: Record<string, any> }} Person
 *
 * @typedef {object} Summary
 * @property {string} id
 * @property {string} [topic]
 * @property {string} status open, pending, snoozed or resolved
 * @property {number} seq
 * @property {number} rev
 * @property {number} [user_read_seq]
 * @property {number} [agent_read_seq]
 * @property {number} [unread] the user's unread messages
 * @property {number} [agent_unread] desk only
 * @property {any} [assignee]
 * @property {LastMessage | null} [last_message]
 * @property {ContextSnapshot | null} [context]
 * @property {string} [opened_at]
 * @property {Person} [user] desk only
 * @property {string | null} [headline] desk only
 * @property {string[]} [tags] desk only
 * @property {string | null} [snoozed_until]
 */
export {};
