/** @param {string} path of a socket @returns {string} its address on the server this page came from */
export function socketUrl(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}
