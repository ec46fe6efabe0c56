import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { HsmAuditLog, type AuditEvent } from '../../src/hsm/audit-log.js';
import type { HsmLog } from '../../src/hsm/deferred-log.js';
import { auditFile, readAuditLine, type HsmAuditEntry } from '../../src/protocol/hsm-audit.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const event = (userName: string): AuditEvent => ({
  commandType: 'CN_MGMT_CMD',
  opcode: 'CN_LOGIN',
  session: 1,
  response: '0:HSM Return: SUCCESS',
  logType: 'MGMT_USER_DETAILS_LOG',
  userName,
  userType: 'CN_CRYPTO_USER',
});

let path: string;
let said: string[];
const NOW_MS = 1_513_717_277_140;

beforeEach(() => {
  path = join(temporaryDirectory(), 'hsm.jsonl');
  said = [];
});

type Options = Partial<ConstructorParameters<typeof HsmAuditLog>[0]>;

function openLog(options: Options = {}): HsmAuditLog {
  const say = (fields: object, text: string): void => {
    const lost = 'lost' in fields ? ` ${String(fields.lost)}` : '';
    said.push(`${text}${lost}`);
  };
  const log: HsmLog = { debug: say, warn: say, error: say, fatal: say };
  return new HsmAuditLog({ path, log, now: () => NOW_MS, ...options });
}

/** As a start of the process that writes `count` entries, and is killed. */
function writeSome(count: number, options: Options = {}): void {
  const log = openLog(options);
  for (let at = 0; at < count; at += 1) log.write([event('alice')]);
}

const linesOf = (file: string): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
const read = (file = path): (HsmAuditEntry | undefined)[] => linesOf(file).map(readAuditLine);
const sequences = (file = path): (number | undefined)[] =>
  read(file).map((entry) => entry?.sequence);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

test('an entry is on file when it was written, for its owner alone', () => {
  openLog().write([event('alice'), event('bob')]);
  const common = { version: 1, usecs: NOW_MS * 1_000, reboot: 0 };
  expect(read()).toEqual([
    { ...common, sequence: 0, ...event('alice') },
    { ...common, sequence: 1, ...event('bob') },
  ]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('nothing is there before the first entry', () => {
  openLog().close();
  expect(existsSync(path)).toBe(false);
});

describe('over starts', () => {
  test('numbers go on and the reboot counter goes up', () => {
    for (const count of [3, 1, 2]) writeSome(count);
    expect(sequences()).toEqual(upTo(6));
    expect(read().map((entry) => entry?.reboot)).toEqual([0, 0, 0, 1, 2, 2]);
  });

  test('a torn last line is cut off, wherever it was torn', () => {
    writeSome(3);
    const whole = statSync(path).size;
    const [, , last = ''] = linesOf(path);
    for (let kept = 0; kept <= last.length; kept += 7) {
      truncateSync(path, whole - last.length - 1);
      appendFileSync(path, last.slice(0, kept));
      writeSome(1);
      expect(sequences()).toEqual(upTo(3));
      truncateSync(path, whole);
    }
  });

  test('a file that holds a torn line alone begins anew', () => {
    writeFileSync(path, '{"version":1,"us');
    writeSome(2);
    expect(sequences()).toEqual([0, 1]);
  });

  test('a damaged line stays, and its number is not used again', () => {
    writeSome(2);
    appendFileSync(path, '\0\0\0\n');
    writeSome(1);
    expect(sequences()).toEqual([0, 1, undefined, 3]);
  });

  test('so do a great many zeros, as a loss of power leaves them', () => {
    writeSome(2);
    appendFileSync(path, Buffer.alloc(100_000));
    writeSome(1);
    expect(sequences()).toEqual([0, 1, undefined, 3]);
  });
});

describe('the bound of a file', () => {
  const options = { fileMaxBytes: 1_000, filesMax: 3 };

  test('full files make way, and numbers go on through all of them', () => {
    writeSome(14, options);
    const found = [2, 1, 0].flatMap((age) => sequences(auditFile(path, age)));
    const first = found[0] ?? -1;
    expect(found).toEqual(upTo(14).slice(first));
    expect(first).toBeGreaterThan(0);
    for (const age of [0, 1, 2]) {
      expect(statSync(auditFile(path, age)).size).toBeLessThanOrEqual(options.fileMaxBytes);
    }
    expect(existsSync(auditFile(path, 3))).toBe(false);
  });

  test('a process that was killed between two files is no reason to begin anew', () => {
    writeSome(4, options);
    const last = sequences().at(-1) ?? 0;
    rmSync(auditFile(path, 1), { force: true });
    writeFileSync(auditFile(path, 1), readFileSync(path));
    rmSync(path);
    writeSome(1, options);
    expect(read()).toMatchObject([{ sequence: last + 1, reboot: 1 }]);
  });
});

describe('where nothing can be written', () => {
  /** a directory where the file should be: nobody, whoever it is, can write to it */
  const block = (): void => mkdirSync(path);
  const unblock = (): void => rmSync(path, { recursive: true });

  test('entries wait, which is said once, and are written in order when they can be', () => {
    block();
    const log = openLog();
    for (const name of ['a', 'b', 'c']) log.write([event(name)]);
    expect(said).toEqual(['audit entries cannot be written']);
    unblock();
    log.write([event('d')]);
    expect(read().map((entry) => entry?.userName)).toEqual(['a', 'b', 'c', 'd']);
    expect(sequences()).toEqual(upTo(4));
    expect(said[1]).toBe('audit entries can be written again 0');
  });

  test('what waits is written at the end in good order', () => {
    block();
    const log = openLog();
    log.write([event('a')]);
    unblock();
    log.close();
    expect(sequences()).toEqual([0]);
  });

  test('of entries over the bound the numbers stay free', () => {
    block();
    const log = openLog({ waitingMax: 2 });
    for (const name of ['a', 'b', 'lost', 'lost']) log.write([event(name)]);
    unblock();
    log.write([event('c')]);
    log.write([event('d')]);
    expect(read().map((entry) => entry?.userName)).toEqual(['a', 'b', 'c', 'd']);
    expect(sequences()).toEqual([0, 1, 4, 5]);
    expect(said).toEqual([
      'audit entries cannot be written',
      'audit entries can be written again 2',
    ]);
  });
});
