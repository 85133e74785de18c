// Finds out which system packages are missing, without asking apt, and installs them with it.
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runStep, tailOf } from './run-step.mjs';

const STANDARD_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** @returns {string[]} names of packages of the list that this host lacks */
export function missingPackages(wanted, { statusFile = '/var/lib/dpkg/status' } = {}) {
  const absent = wanted.filter(({ brings }) => brings.length === 0 || !brings.every(isThere));
  if (absent.length === 0) return [];
  const installed = installedPackages(statusFile);
  return absent.map((entry) => entry.package).filter((name) => !installed.has(name));
}

/** dpkg's own record: stanzas with Package and Status. */
function installedPackages(statusFile) {
  if (!existsSync(statusFile)) return new Set();
  const stanzas = readFileSync(statusFile, 'utf8').split('\n\n');
  return new Set(
    stanzas
      .filter((stanza) => /^Status: \S+ ok installed$/m.test(stanza))
      .map((stanza) => /^Package: (\S+)$/m.exec(stanza)?.[1] ?? ''),
  );
}

function isThere(thing) {
  return thing.startsWith('/') ? existsSync(thing) : findExecutable(thing) !== undefined;
}

export function findExecutable(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...STANDARD_FOLDERS];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The line for a person to run, by the way to root that this system has. */
export function installLine(names) {
  const [update, install] = ['apt-get update', `apt-get install -y --no-install-recommends ${names.join(' ')}`];
  if (process.getuid?.() === 0) return `${update} && ${install}`;
  if (findExecutable('sudo') !== undefined) return `sudo ${update} && sudo ${install}`;
  return `su -c '${update} && ${install}'`;
}

// Nobody answers questions, no terminal is needed, and another apt at work is waited for.
const ENVIRONMENT = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1', LC_ALL: 'C.UTF-8' };
const OPTIONS = ['-q', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300'];

/**
 * Installs packages as root, or through sudo where sudo can be had.
 * @param {readonly string[]} names
 * @param {(line: string) => void} say
 * @throws {Error} with a message for a person: what to run, or what apt said
 */
export async function installPackages(names, say, { asRoot = process.getuid?.() === 0 } = {}) {
  const apt = findExecutable('apt-get');
  if (apt === undefined) {
    throw new Error(`This system has no apt-get. Install by its own means what these Debian packages bring, then try
again: ${names.join(' ')}`);
  }
  if (!asRoot && !(await canSudo())) {
    throw new Error(`Some system packages are missing and only root can install them. Run this, then try again:\n
  ${installLine(names)}\n`);
  }
  say(`Installing system packages${asRoot ? '' : ' through sudo'}: ${names.join(' ')}`);
  const run = (args) => runApt(asRoot, apt, args);
  const update = await run(['update']);
  const install = await run(['install', '-y', '--no-install-recommends', ...names]);
  if (install.status === 0) return;
  const reason = update.status === 0 ? install.output : `${tailOf(update.output)}\n${install.output}`;
  throw new Error(`apt-get could not install the packages:\n${tailOf(reason)}\n\nTo try by hand:\n
  ${installLine(names)}\n`);
}

function runApt(asRoot, apt, args) {
  if (asRoot) return runStep(apt, [...OPTIONS, ...args], { env: ENVIRONMENT });
  // sudo drops the environment: env(1) sets it on the other side.
  const environment = Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  return runStep('sudo', ['env', ...environment, apt, ...OPTIONS, ...args]);
}

/** sudo asks for its password on the terminal itself, so it needs one unless none is asked for. */
async function canSudo() {
  if (findExecutable('sudo') === undefined) return false;
  if ((await runStep('sudo', ['-n', 'true'])).status === 0) return true;
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}
