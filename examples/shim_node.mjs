// A service in JavaScript, over the shim's line dialect: it registers, stays listed, and shows who comes and goes.
// Run:  node examples/shim_node.mjs [HOST:PORT]      Ctrl-C ends it; ten seconds later it is listed no more.
import net from "node:net";
import readline from "node:readline";

const [host, port] = (process.argv[2] ?? "127.0.0.1:65432").split(":");
const socket = net.connect(Number(port), host);
const say = (request) => socket.write(JSON.stringify(request) + "\n");
const me = { type: "register", key: "lamp/node", values: "192.168.1.7:8080", timeout: 10 };

say(me);
say({ type: "watch", key: "all" });
setInterval(() => say(me), 5000); // the same registration once more renews it
for await (const line of readline.createInterface({ input: socket })) console.log(JSON.parse(line));
