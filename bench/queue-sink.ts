// A next hop for the queue benchmark, in a process of its own: takes every message at once, or answers each command only after a while, and
// says how many it has taken. `node bench/queue-sink.ts [DELAY_MS]`; prints its port, then for each line on standard input the count so far.
import { createInterface } from 'node:readline';
import { createServer, type AddressInfo, type Socket } from 'node:net';

const delay = Number(process.argv[2] ?? 0);
let taken = 0;

function serve(socket: Socket): void {
  let data = false;
  let rest = '';
  const answer = (text: string): void => {
    if (delay === 0) socket.write(`${text}\r\n`);
    else setTimeout(() => socket.write(`${text}\r\n`), delay).unref();
  };
  const command = (line: string): void => {
    switch (line.slice(0, 4).toUpperCase()) {
      case 'EHLO':
        return answer('250-sink.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES');
      case 'DATA':
        data = true;
        return answer('354 go on');
      case 'QUIT':
        socket.end('221 2.0.0 bye\r\n');
        return;
      default:
        return answer('250 2.0.0 ok');
    }
  };
  socket.setNoDelay(true).setEncoding('latin1');
  socket.on('error', () => undefined);
  socket.on('data', (text: string) => {
    rest += text;
    for (;;) {
      if (data) {
        const end = rest.startsWith('.\r\n') ? 0 : rest.indexOf('\r\n.\r\n');
        if (end < 0) {
          // Only what may begin the end has to be kept.
          rest = rest.slice(-4);
          return;
        }
        rest = rest.slice(end + (end === 0 ? 3 : 5));
        data = false;
        taken++;
        answer('250 2.0.0 taken');
        continue;
      }
      const end = rest.indexOf('\n');
      if (end < 0) return;
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      command(line);
    }
  });
  answer('220 sink.test ESMTP');
}

const server = createServer(serve).listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
createInterface({ input: process.stdin })
  .on('line', () => console.log(taken))
  .on('close', () => process.exit(0));
