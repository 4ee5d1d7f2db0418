/**
 * What a device keeps between page loads, in IndexedDB: its cursor, the log, and the outbox. One `write` is one
 * IndexedDB transaction, which is what C1 of protocol.md asks for: an event and the cursor past it are stored together.
 */
const TABLES = /** @type {const} */ (["meta", "conversations", "events", "transactions", "outbox"]);

/** @typedef {(typeof TABLES)[number]} Table */
/** @typedef {{ put?: Partial<Record<Table, any[]>>, remove?: Partial<Record<Table, IDBValidKey[]>>, clear?: Table[] }} Change */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class Store {
  /** @param {IDBDatabase} database */
  constructor(database) {
    this.database = database;
    /** @type {Promise<void>} */
    this.tail = Promise.resolve();
  }

  /** @param {string} name one per app and user, so that two people on one browser never see each other's chat */
  static async open(name) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      const database = request.result;
      database.createObjectStore("meta", { keyPath: "key" });
      database.createObjectStore("conversations", { keyPath: "id" });
      database.createObjectStore("events", { keyPath: ["conversation", "seq"] });
      database.createObjectStore("transactions", { keyPath: "id" });
      database.createObjectStore("outbox", { keyPath: "id" });
    };
    return new Store(await done(request));
  }

  /** @returns {Promise<Record<Table, any[]>>} every row, as one consistent read */
  async load() {
    const reading = this.database.transaction(TABLES, "readonly");
    const rows = await Promise.all(TABLES.map((table) => done(reading.objectStore(table).getAll())));
    return /** @type {Record<Table, any[]>} */ (Object.fromEntries(TABLES.map((table, index) => [table, rows[index]])));
  }

  /**
   * Counts on: a number greater than any this key had before, on disk when it is returned. One transaction reads and writes
   * it, so that two tabs of one browser never get the same.
   * @param {string} key of `meta`
   * @param {number} [used] a number that somebody else knows to be taken
   * @returns {Promise<number>}
   */
  async next(key, used = 0) {
    const counting = this.database.transaction("meta", "readwrite");
    const meta = counting.objectStore("meta");
    const finished = new Promise((resolve, reject) => {
      counting.oncomplete = resolve;
      counting.onabort = () => reject(counting.error);
    });
    const value = Math.max((await done(meta.get(key)))?.value ?? 0, used) + 1;
    meta.put({ key, value });
    await finished;
    return value;
  }

  /**
   * Applies a change atomically, after all changes given before it.
   * @param {Change} change
   * @returns {Promise<void>} when it is on disk
   */
  write(change) {
    const written = this.tail.then(
      () =>
        new Promise((resolve, reject) => {
          const writing = this.database.transaction(TABLES, "readwrite");
          for (const table of change.clear ?? []) writing.objectStore(table).clear();
          for (const table of TABLES) {
            for (const key of change.remove?.[table] ?? []) writing.objectStore(table).delete(key);
            for (const row of change.put?.[table] ?? []) writing.objectStore(table).put(row);
          }
          writing.oncomplete = () => resolve(undefined);
          writing.onerror = () => reject(writing.error);
          writing.onabort = () => reject(writing.error);
        }),
    );
    this.tail = written.catch(() => undefined);
    return /** @type {Promise<void>} */ (written);
  }
}
