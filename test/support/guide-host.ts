// A fresh Debian host of one's own to run the guide on: namespaces for mounts, processes and the network, with copies of /etc, an empty /var,
// /run, /opt and /usr/local/bin. Nothing of it reaches the machine, and all processes in it end with it. Needs root.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PROJECT } from './mail-host.ts';
import { run, type RunResult } from './programs.ts';

/** Runs before the script, inside the namespaces. $1: a folder for the host's own files; $2: the project. */
const SETUP = `set -euo pipefail
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir -p "$1"/{etc,opt/buzon,bin,run,var/{lib/logrotate,log,spool,tmp,cache,www}}
mkdir -m 2775 "$1/var/mail"
cp -a /etc/. "$1/etc/"
# What an earlier set-up of this machine may have left.
rm -rf "$1"/etc/{buzon,letsencrypt,logrotate.d/buzon,fail2ban/filter.d/buzon.conf,fail2ban/jail.d/buzon.conf,systemd/system/buzon.service}
sed -i '/^vmail:/d' "$1"/etc/{passwd,shadow,group,gshadow}
install -m 755 "$3" "$1/bin/systemctl"
mount --bind "$2" "$1/opt/buzon"
mount --rbind "$1/opt" /opt
for folder in etc run var; do mount --bind "$1/$folder" "/$folder"; done
mount --bind "$1/bin" /usr/local/bin
ip link set lo up
unset CI NODE_TEST_CONTEXT NODE_OPTIONS
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /
exec bash -euo pipefail "$4"
`;

/** Does for buzon.service what systemd does with its ExecStart, reload and stop; other services are not there. */
const SYSTEMCTL = `#!/bin/bash
set -eu
unit=/etc/systemd/system/buzon.service pid=/run/buzon.main
start() {
  read -ra command < <(sed -n 's/^ExecStart=//p' "$unit")
  mkdir -p -m 750 /var/lib/buzon
  "\${command[@]}" >>/run/buzon.journal 2>&1 & echo $! >"$pid"
  for ((i = 0; i < 300; i++)); do
    ! kill -0 "$(<"$pid")" 2>/dev/null && { cat /run/buzon.journal >&2; exit 1; }
    grep -q server.ready /var/log/buzon.log 2>/dev/null && return
    sleep 0.1
  done
  exit 1
}
case "$*" in
  'daemon-reload' | 'restart fail2ban') ;;
  'enable --now buzon') start ;;
  'reload buzon') kill -HUP "$(<"$pid")"; sleep 1 ;;
  *) echo "no service manager here for: $*" >&2; exit 1 ;;
esac
`;

/** Runs a bash script (with -euo pipefail) on such a host, for at most `timeoutMs`. */
export async function runOnGuideHost(script: string, timeoutMs: number): Promise<RunResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'buzon-guide-'));
  try {
    await chmod(scratch, 0o755);
    const [setup, file, systemctl] = [join(scratch, 'setup'), join(scratch, 'guide'), join(scratch, 'systemctl')];
    await Promise.all([writeFile(setup, SETUP), writeFile(file, script), writeFile(systemctl, SYSTEMCTL)]);
    const root = await mkdtemp(join(scratch, 'host-'));
    return await run(
      '/usr/bin/unshare',
      ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '/bin/bash', setup, root, PROJECT, systemctl, file],
      { timeoutMs },
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
