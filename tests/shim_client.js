// A client for the two TCP register servers of SEEDS sections 1 and 2, written from those pages
// alone: it shares no code with the server it tests, not even the language.
//
//   node shim_client.js HOST PORT COMMAND ...
//
//   register TYPE IP PORT                  framed dialect (section 1), one connection a request
//   heartbeat UUID [uuid|service_uuid]
//   query TYPE
//   serve TYPE IP PORT SECONDS             register, then heartbeat until killed
//   lines JSON [JSON ...]                  line dialect (section 2), one connection for them all
//   splitlines JSON [JSON ...]             the same, every byte in a write of its own
//
// One JSON line on stdout for each answer (serve: not for a heartbeat's OK). A refusal such as ERROR
// is an answer: exit 0. Exit 1: no connection, or an answer that breaks the protocol. Exit 2: usage.
'use strict';

const net = require('node:net');
const os = require('node:os');
const { setTimeout: sleep } = require('node:timers/promises');
const { promisify } = require('node:util');

const SILENCE_LIMIT_S = 10; // a server that hangs must fail its test, not stall it
const LONGEST_SLEEP_S = 2 ** 31 / 1000; // from here on, Node turns a timer into one of 1 ms
const CONTENT_TYPES = { register: 'text/plain', heartbeat: 'text/plain', query: 'text/json' };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const USAGE = `usage: node shim_client.js HOST PORT COMMAND ...
  register TYPE IP PORT | heartbeat UUID [uuid|service_uuid] | query TYPE | serve TYPE IP PORT SECONDS
  lines JSON [JSON ...] | splitlines JSON [JSON ...]`;

class UsageError extends Error {}

/** Throws unless the server kept its promise. */
function promised(kept, message) {
  if (!kept) throw new Error(`broken protocol: ${message}`);
}

function printJson(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Errors, a failed connect among them, reach whoever iterates over the socket. */
function open(server) {
  const socket = net.connect({ ...server, noDelay: true }); // splitlines needs Nagle out of its way
  socket.setTimeout(SILENCE_LIMIT_S * 1000, () => {
    socket.destroy(new Error(`the server was silent for ${SILENCE_LIMIT_S} s and did not close`));
  });
  return socket;
}

function decode(bytes, encoding, what) {
  try {
    // ignoreBOM keeps a BOM in the text, where it shows, instead of dropping it
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Error(`broken protocol: ${what} cannot be read as ${encoding}: ${error.message}`);
  }
}

function parseJson(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`broken protocol: ${what} is not JSON (${error.message}): ${text}`);
  }
}

// ---- framed dialect: 2 bytes of header length, big-endian; a JSON header; the content

function frame(request) {
  const content = Buffer.from(JSON.stringify(request));
  const header = Buffer.from(JSON.stringify({
    byteorder: os.endianness() === 'LE' ? 'little' : 'big',
    'content-type': 'text/json',
    'content-encoding': 'utf-8',
    'content-length': content.length,
  }));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(header.length);
  return Buffer.concat([length, header, content]);
}

/** The one frame that the whole of a connection's bytes must be: its header and its text. */
function unframe(bytes) {
  promised(bytes.length >= 2, `the server closed after ${bytes.length} bytes, before a header's length`);
  const start = 2 + bytes.readUInt16BE();
  promised(bytes.length >= start, `the server closed after ${bytes.length} bytes, inside a header that ends at ${start}`);

  const header = parseJson(decode(bytes.subarray(2, start), 'utf-8', 'the header'), 'the header');
  const shown = JSON.stringify(header);
  promised(header !== null && typeof header === 'object' && !Array.isArray(header), `the header is no object: ${shown}`);
  promised(['little', 'big'].includes(header.byteorder), `byteorder is neither little nor big: ${shown}`);
  promised(typeof header['content-type'] === 'string', `content-type is not a text: ${shown}`);
  promised(typeof header['content-encoding'] === 'string', `content-encoding is not a text: ${shown}`);
  const length = header['content-length'];
  promised(Number.isSafeInteger(length) && length >= 0, `content-length is not a count of bytes: ${shown}`);

  const content = bytes.subarray(start);
  promised(content.length === length, `${content.length} bytes of content came, not content-length: ${shown}`);
  return { header, text: decode(content, header['content-encoding'], 'the content') };
}

/** Sends one request on a connection of its own; returns the answer as it is to be printed. */
async function ask(server, request) {
  const socket = open(server);
  // Our side stays open until the server closes: a reader may take an early end for a client that left.
  socket.write(frame(request));
  // The server closes after its answer, so the answer is everything until then, in whatever pieces.
  const pieces = [];
  for await (const piece of socket) pieces.push(piece);
  const { header, text } = unframe(Buffer.concat(pieces));

  const { action } = request;
  const type = header['content-type'];
  promised(type === CONTENT_TYPES[action],
    `${action} was answered with ${type}, not ${CONTENT_TYPES[action]}: ${text} ${JSON.stringify(header)}`);
  if (action === 'query') {
    const value = parseJson(text, "query's answer");
    const isPlace = (item) => typeof item?.ip === 'string' && Number.isInteger(item.port);
    promised(Array.isArray(value) && value.every(isPlace), `query's answer is not a list of ip and port: ${text}`);
    return { type, value, header };
  }
  const isKnown = action === 'register'
    ? text === 'ERROR' || UUID.test(text)
    : ['OK', 'NOT FOUND', 'ERROR'].includes(text);
  promised(isKnown, `${action} has no such answer: ${JSON.stringify(text)}`);
  return { type, text, header };
}

async function serve(server, registration, seconds) {
  let uuid = null; // null: not registered
  for (;;) {
    if (uuid !== null) {
      const answer = await ask(server, { action: 'heartbeat', uuid });
      if (answer.text !== 'OK') {
        printJson(answer);
        uuid = null;
      }
    }
    if (uuid === null) {
      const answer = await ask(server, registration);
      printJson(answer);
      if (answer.text !== 'ERROR') uuid = answer.text; // after an ERROR: again, one interval later
    }
    await sleep(seconds * 1000);
  }
}

// ---- line dialect: JSON, each ended by CRLF, many a connection

/** All requests at once, without waiting for answers, so that the server has to find the line ends. */
function writeWhole(socket, bytes) {
  return promisify(socket.write).call(socket, bytes);
}

async function writeByteByByte(socket, bytes) {
  for (const byte of bytes) await promisify(socket.write).call(socket, Buffer.of(byte));
}

async function exchangeLines(server, requests, write) {
  const socket = open(server);
  const bytes = Buffer.from(requests.map((request) => `${request}\r\n`).join(''));
  // Not awaited: answers are read while we still write. A failed write ends the loop below.
  write(socket, bytes).catch((error) => socket.destroy(error));

  let answered = 0;
  let rest = Buffer.alloc(0); // the beginning of a line whose end has not come yet
  for await (const piece of socket) {
    rest = Buffer.concat([rest, piece]);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const line = rest.subarray(0, end > 0 && rest[end - 1] === 0x0d ? end - 1 : end);
      rest = rest.subarray(end + 1);
      answered += 1;
      const text = decode(line, 'utf-8', `answer ${answered}`);
      parseJson(text, `answer ${answered}`);
      promised(answered <= requests.length, `answer ${answered} to ${requests.length} requests: ${text}`);
      process.stdout.write(`${text}\n`);
      // We close first, then read on until the server has closed too: a line too many would come here.
      if (answered === requests.length) socket.end();
    }
  }
  promised(rest.length === 0, `the server closed inside a line: ${rest}`);
  promised(answered === requests.length, `the server closed after ${answered} of ${requests.length} answers`);
}

// ---- command line

function integer(text, what) {
  const value = Number(text);
  // No range: whether 66554 is a port is for the server to say.
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value)) throw new UsageError(`${what} is no whole number: ${text}`);
  return value;
}

function registration([type, ip, port]) {
  return { action: 'register', type, ip, port: integer(port, 'PORT') };
}

function requestLines(texts) {
  const broken = texts.find((text) => /[\r\n]/.test(text));
  if (broken !== undefined) throw new UsageError(`a request is one line: ${JSON.stringify(broken)}`);
  return texts;
}

const COMMANDS = { // fewest and most arguments, and what to do with them
  register: [3, 3, async (server, args) => printJson(await ask(server, registration(args)))],
  heartbeat: [1, 2, async (server, [uuid, field = 'uuid']) => {
    if (!['uuid', 'service_uuid'].includes(field)) throw new UsageError(`no such field: ${field}`);
    printJson(await ask(server, { action: 'heartbeat', [field]: uuid }));
  }],
  query: [1, 1, async (server, [type]) => printJson(await ask(server, { action: 'query', type }))],
  serve: [4, 4, async (server, args) => {
    const seconds = Number(args[3]);
    if (!(seconds > 0 && seconds < LONGEST_SLEEP_S)) throw new UsageError(`SECONDS cannot be ${args[3]}`);
    await serve(server, registration(args), seconds);
  }],
  lines: [1, Infinity, (server, args) => exchangeLines(server, requestLines(args), writeWhole)],
  splitlines: [1, Infinity, (server, args) => exchangeLines(server, requestLines(args), writeByteByByte)],
};

async function main([host, portText, command, ...args]) {
  if (!host || !Object.hasOwn(COMMANDS, command ?? '')) throw new UsageError(USAGE);
  const [fewest, most, run] = COMMANDS[command];
  if (args.length < fewest || args.length > most) throw new UsageError(USAGE);
  const port = integer(portText, 'the server\'s PORT');
  if (port < 1 || port > 65535) throw new UsageError(`a server has no port ${port}`);
  try {
    await run({ host, port }, args);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // Node leaves the message empty when every address of a name was tried in vain.
    throw new Error(`${host}:${port} ${command}: ${error.message || error.code}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
