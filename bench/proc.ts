// What Linux tells under /proc: processes, their CPU time, who holds a connection.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Kernel ticks are a hundredth of a second on every Linux that Node runs on. */
const TICK_MS = 10;

const read = (path: string): string => {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
};

/** Fields of /proc/PID/stat from the third one on; undefined when there is no such process. */
function statOf(pid: number): string[] | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Tells a process from a later one with the same number. */
export const startTime = (pid: number): string | undefined => statOf(pid)?.[19];

/** `root` and all that descend from it. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? Number(statOf(pid)?.[1] ?? 0) : 0;
    if (parent > 0) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree = [root];
  // Grows while it is walked.
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** CPU milliseconds of a process and of its children that have ended. */
export function cpuOf(pid: number): number {
  const fields = statOf(pid);
  return fields ? [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0) * TICK_MS : 0;
}

/** CPU milliseconds of the whole machine since its start, and what the hypervisor took away. */
export function machineCpu(): { readonly busy: number; readonly stolen: number } {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, stolen = 0] = /^cpu +(.*)$/m
    .exec(read('/proc/stat'))?.[1]
    ?.split(' ')
    .map(Number) ?? [0];
  return { busy: (user + nice + system + irq + softirq) * TICK_MS, stolen: stolen * TICK_MS };
}

interface TcpSocket {
  readonly localPort: number;
  readonly remotePort: number;
  readonly listening: boolean;
  readonly inode: string;
}

function tcpSockets(): TcpSocket[] {
  const portOf = (address = ''): number => parseInt(address.slice(address.indexOf(':') + 1), 16);
  return read('/proc/net/tcp')
    .split('\n')
    .slice(1, -1)
    .map((line) => {
      const [, local, remote, state, , , , , , inode = ''] = line.trim().split(/ +/);
      return { localPort: portOf(local), remotePort: portOf(remote), listening: state === '0A', inode };
    });
}

/** Sockets (of all processes) that listen on a port. */
export const listenersOn = (port: number): number => tcpSockets().filter((s) => s.listening && s.localPort === port).length;

/** Which of `pids` holds the server's side of the connection from `clientPort` to `serverPort`; undefined when none does. */
export function ownerOf(pids: readonly number[], serverPort: number, clientPort: number): number | undefined {
  const socket = tcpSockets().find((s) => s.localPort === serverPort && s.remotePort === clientPort);
  return socket && pids.find((pid) => openFiles(pid).includes(`socket:[${socket.inode}]`));
}

function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).map((fd) => {
      try {
        return readlinkSync(`${folder}/${fd}`);
      } catch {
        // Closed meanwhile.
        return '';
      }
    });
  } catch {
    return [];
  }
}
