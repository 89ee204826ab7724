// A slow link between a browser and a port of this machine. It is of TCP, so that it holds up a worker's requests as it does the
// page's: what Chromium itself emulates is of one page, and its workers go round it.
import { once } from "node:events";
import { connect, createServer } from "node:net";

const packet = 1460; // bytes, of Ethernet

/** Both directions are as fast, each for itself. A connection costs a round trip, as TCP's does; packets are neither lost nor held back. */
export async function slowLink(port, { bitsPerSecond, roundTripMs }) {
  const [up, down] = [direction(bitsPerSecond / 8000, roundTripMs / 2), direction(bitsPerSecond / 8000, roundTripMs / 2)];
  const sockets = new Set();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from.setNoDelay());
      from.on("error", () => to.destroy()).on("close", () => sockets.delete(from));
    }
    setTimeout(() => carry(client, upstream, up), roundTripMs);
    carry(upstream, client, down);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: server.address().port, close };
}

function carry(from, to, send) {
  from.on("data", (data) => {
    for (let at = 0; at < data.length; at += packet) send(to, data.subarray(at, at + packet));
  });
  from.on("end", () => send(to));
}

/**
 * One direction: a function that sends a packet to a socket or, without one, its end. The connections have their packets sent in
 * turn, as they would share a link: in one queue a small file would wait for a large one that was asked for before it.
 */
function direction(bytesPerMs, delayMs) {
  const waiting = new Map(); // packets by socket, whose turn is next comes first
  let free = 0; // when the link has sent what it was given
  function pump() {
    for (const [socket, packets] of waiting) {
      const sent = free + (packets[0]?.length ?? 0) / bytesPerMs;
      if (sent > performance.now()) return setTimeout(pump, 1);
      free = sent;
      const next = packets.shift();
      setTimeout(() => (next ? socket.write(next) : socket.end()), delayMs);
      waiting.delete(socket);
      if (packets.length > 0) waiting.set(socket, packets); // behind the others
    }
  }
  return (socket, next) => {
    const idle = waiting.size === 0;
    if (waiting.has(socket)) waiting.get(socket).push(next);
    else waiting.set(socket, [next]);
    if (!idle) return;
    free = Math.max(free, performance.now());
    pump();
  };
}
