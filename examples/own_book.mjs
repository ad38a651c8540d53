#!/usr/bin/env node
// An order book of one's own, diff by diff, in JavaScript without a library: docs/redis.md, "The order book".
//   GAPLESS_REDIS_URL=redis://... examples/own_book.mjs BTC/USDT:USDT [SECONDS]
// Prints the best prices once a second. Node 18 or newer.
import { connect } from "node:net";

const [symbol, seconds = "0"] = process.argv.slice(2), url = new URL(process.env.GAPLESS_REDIS_URL);
const socket = connect(url.port || 6379, url.hostname), until = Date.now() + seconds * 1000;
const key = (name) => `${name}.binance.${symbol}`, pause = (ms) => new Promise((done) => setTimeout(done, ms));
let buffer = Buffer.alloc(0), awaited; // one command at a time: the protocol in twenty lines

function reply(at) { // [value, where the next begins]; undefined: not all of it has come
  const end = buffer.indexOf("\r\n", at);
  if (end < 0) return undefined;
  const text = buffer.toString("utf8", at + 1, end), type = String.fromCharCode(buffer[at]);
  if (type === "-") return [new Error(text), end + 2];
  if (type === "$" && text !== "-1") {
    const stop = end + 2 + Number(text);
    return buffer.length < stop + 2 ? undefined : [buffer.toString("utf8", end + 2, stop), stop + 2];
  }
  if (type !== "*") return [text === "-1" ? null : text, end + 2];
  let values = text === "-1" ? null : [], next = end + 2;
  for (let left = Number(text); left > 0; left--) {
    const found = reply(next);
    if (!found) return undefined;
    values.push(found[0]), (next = found[1]);
  }
  return [values, next];
}
socket.on("error", (error) => awaited?.(error)).on("data", (chunk) => {
  const found = reply(((buffer = Buffer.concat([buffer, chunk])), 0));
  if (found) (buffer = buffer.subarray(found[1])), awaited(found[0]);
});
const ask = async (...words) => {
  const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
  const answer = await new Promise((done) => ((awaited = done), socket.write(`*${words.length}\r\n${parts.join("")}`)));
  if (answer instanceof Error) throw answer;
  return answer;
};

async function wholeBook() {
  for (let tries = 0; tries < 100; tries++) {
    await ask("SET", key("book.want"), "1", "EX", 10); // written for as long as somebody wants it
    const full = JSON.parse(await ask("GET", key("book.full")));
    if (full?.state === "live") return { id: full.id, bids: new Map(full.bids), asks: new Map(full.asks) };
    await pause(100);
  }
  throw new Error(`no live book of ${symbol}`);
}

if (url.password) await ask("AUTH", ...(url.username ? [url.username] : []), decodeURIComponent(url.password));
if (url.pathname.length > 1) await ask("SELECT", url.pathname.slice(1));
let book = await wholeBook(), after = "0", told = 0; // from the Stream's start: what is in the book already is skipped
while (seconds === "0" || Date.now() < until) {
  const [[, entries]] = (await ask("XREAD", "COUNT", 1000, "BLOCK", 1000, "STREAMS", key("md.depth"), after)) ?? [[0, []]];
  for (const [id, fields] of entries) {
    const diff = JSON.parse(fields[fields.indexOf("d") + 1]);
    after = id;
    if (diff.u <= book.id) continue;
    // On spot a diff begins where the last ended, plus one (U); on USD-M it names the last (pu). The first may overlap.
    if ((diff.pu ?? diff.U - 1) > book.id) {
      book = await wholeBook(); // a diff is missing
      continue;
    }
    book.id = diff.u;
    for (const [side, changes] of [[book.bids, diff.b], [book.asks, diff.a]])
      for (const [price, quantity] of changes) Number(quantity) ? side.set(price, quantity) : side.delete(price);
  }
  if (Date.now() - told < 1000 || entries.length === 1000) continue;
  const bid = Math.max(...[...book.bids.keys()].map(Number)), ask_ = Math.min(...[...book.asks.keys()].map(Number));
  console.log(`${book.id}  ${bid} / ${ask_}  ${book.bids.size} and ${book.asks.size} levels`), (told = Date.now());
}
socket.end();
