import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { SEAL_START, type ChainHead } from '../../core/audit-seal.js';
import { pause } from '../../core/deadline.js';
import { isKeyspanError, KeyspanError } from '../../core/errors.js';
import { findHome, type Home } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import { callAdmin } from '../admin-client.js';
import { verifyChain, type AuditText, type ChainReport } from '../audit-chain.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, print, printJson } from '../output.js';

const POLL_MS = 200;
const READ_BYTES = 64 * 1024;

const nameOf = (age: number): string => (age === 0 ? 'audit.jsonl' : `audit.${age}.jsonl`);

/**
 * Checks that no line of the audit log was altered, removed, moved or cut off. Where a daemon runs
 * it is asked for its newest seal.
 */
export async function verifyAudit(options: SharedOptions): Promise<number> {
  const home = findHome(options.home);
  // before the files are read: so what it names must be in them
  const anchor = await askHead(home);
  const report = verifyChain(readFiles(home).reverse(), anchor);
  if (options.json) printJson(report);
  else print(describe(report, anchor));
  return report.whole ? EXIT.ok : EXIT.failed;
}

async function askHead(home: Home): Promise<ChainHead | undefined> {
  try {
    const head = await callAdmin(home, 'AuditHead');
    return head.sequence > 0 ? head : undefined;
  } catch (error) {
    if (isKeyspanError(error, 'KeyspanNotRunning')) return undefined;
    throw error;
  }
}

interface ReadFile extends AuditText {
  /** tells it from what took its name since */
  readonly ino: number;
}

/**
 * The newest first: a file that becomes an older one meanwhile is met twice, not missed.
 * @throws KeyspanError KeyspanUsage when there is none
 */
function readFiles({ audit }: Home): ReadFile[] {
  const known = new Set<number>();
  const files: ReadFile[] = [];
  for (let age = 0; age < LIMITS.audit_files_max; age += 1) {
    const name = nameOf(age);
    const file = openIfThere(join(audit, name));
    if (file === undefined) continue;
    try {
      const { ino } = fstatSync(file);
      if (!known.has(ino)) files.push({ name, ino, bytes: readFileSync(file) });
      known.add(ino);
    } finally {
      closeSync(file);
    }
  }
  if (files.length > 0) return files;
  throw new KeyspanError('KeyspanUsage', `there is no audit log in ${audit}`);
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const lines = (count: number): string => `${count} ${count === 1 ? 'line' : 'lines'}`;

function describe(report: ChainReport, anchor: ChainHead | undefined): string {
  const { first, last, dropped, resumed, unsealed } = report;
  const told: string[] = [];
  if (report.break) {
    const { kind, file, line, lastLine, message } = report.break;
    const place = lastLine === undefined ? `line ${line}` : `lines ${line} to ${lastLine}`;
    told.push(`BROKEN at ${place} of ${file} (${kind}): ${message}.`);
  } else {
    told.push(`Whole: ${lines(report.lines)}, numbers ${first} to ${last + unsealed}.`);
    told.push(anchor ? anchored(report) : 'No daemon runs: nothing but the files was asked.');
  }
  if (dropped > 0) told.push(`${lines(dropped)} could not be written, as the log says itself.`);
  if (resumed > 0) told.push(`${lines(resumed)} had no seal at a start, and were sealed then.`);
  return told.join('\n');
}

const anchored = ({ anchored: isThere }: ChainReport): string =>
  isThere
    ? "The daemon's newest seal is in it."
    : "The daemon's newest seal is older than all that is kept.";

export interface TailOptions extends SharedOptions {
  readonly follow?: boolean;
  /** how many lines */
  readonly lines: number;
  /** an event's name: `Encrypt`, `hsm.state`, … */
  readonly event?: string;
  /** a part of a key's ARN, or of what a request calls it */
  readonly key?: string;
}

/** Prints the last lines of the audit log, from the files in the home: also while nothing runs. */
export async function tailAudit(options: TailOptions): Promise<number> {
  const home = findHome(options.home);
  const files = readFiles(home);
  const follower = options.follow ? await Follower.open(home, files[0]) : undefined;
  try {
    for (const line of lastLines(files, options)) show(line, options);
    for (;;) {
      if (!follower) return EXIT.ok;
      for (const line of await follower.read()) if (isWanted(line, options)) show(line, options);
      await pause(POLL_MS);
    }
  } finally {
    await follower?.close();
  }
}

function lastLines(files: readonly AuditText[], options: TailOptions): string[] {
  const found: string[] = [];
  for (const { bytes } of files) {
    for (let end = bytes.lastIndexOf(0x0a); end >= 0 && found.length < options.lines;) {
      const before = end === 0 ? -1 : bytes.lastIndexOf(0x0a, end - 1);
      const line = bytes.toString('utf8', before + 1, end);
      if (isWanted(line, options)) found.push(line);
      end = before;
    }
  }
  return found.reverse();
}

type Entry = Readonly<Record<string, unknown>>;

function entryIn(line: string): Entry | undefined {
  try {
    return JSON.parse(line) as Entry;
  } catch {
    return undefined;
  }
}

/** Seals say nothing of what happened: they are shown to who asks for them. */
function isWanted(line: string, { event, key }: TailOptions): boolean {
  if (line === '' || (line.startsWith(SEAL_START) && event !== 'audit.seal')) return false;
  if (key !== undefined && !line.includes(key)) return false;
  if (event === undefined && key === undefined) return true;
  const entry = entryIn(line) ?? {};
  if (event !== undefined && ![entry['eventName'], entry['event'], entry['action']].includes(event))
    return false;
  return key === undefined || namesOf(entry).some((name) => name.includes(key));
}

/** What an entry says that it is about. */
function namesOf({ resources, requestParameters, resource, target, key }: Entry): string[] {
  const { keyId, targetKeyId, aliasName } = (requestParameters ?? {}) as Entry;
  const listed = Array.isArray(resources) ? resources.map((one) => (one as Entry)['ARN']) : [];
  const all: unknown[] = [...listed, keyId, targetKeyId, aliasName, resource, target, key];
  return all.filter((name) => typeof name === 'string');
}

function show(line: string, { json }: TailOptions): void {
  print(json ? line : formatAuditLine(line));
}

/** A line for people: when, who, what, of what, how it ended, and which HSM did it. */
export function formatAuditLine(line: string): string {
  const entry = entryIn(line);
  if (!entry) return line;
  if (entry['eventVersion'] !== undefined) return formatCall(entry);
  const { time, event, sequence: _, ...rest } = entry;
  const details = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [time, event, ...details].map(String).join('  ');
}

function formatCall(entry: Entry): string {
  const { type, arn } = (entry['userIdentity'] ?? {}) as Entry;
  const { hsm } = (entry['additionalEventData'] ?? {}) as Entry;
  const resources = (entry['resources'] ?? []) as Entry[];
  const about = resources.map(({ ARN }) => String(ARN).split(':').slice(5).join(':')).join(' ');
  const error = entry['errorCode'];
  const who = type === 'Unknown' ? 'unknown' : String(arn).split(':').slice(4).join(':');
  const parts = [entry['eventTime'], who, entry['eventName'], about, error ?? 'allowed', hsm];
  return parts
    .filter((part) => part !== undefined && part !== '')
    .map(String)
    .join('  ');
}

/** Reads what is added to the present file, and goes to the next when that was begun. */
class Follower {
  readonly #path: string;
  #file: FileHandle;
  #at: number;
  #rest = Buffer.alloc(0);

  private constructor(path: string, file: FileHandle, at: number) {
    this.#path = path;
    this.#file = file;
    this.#at = at;
  }

  /** @param read what was read of the present file already */
  static async open({ audit }: Home, read: ReadFile | undefined): Promise<Follower> {
    const path = join(audit, nameOf(0));
    const file = await open(path, 'r');
    const isSame = (await file.stat()).ino === read?.ino;
    return new Follower(path, file, isSame ? read.bytes.lastIndexOf(0x0a) + 1 : 0);
  }

  async read(): Promise<string[]> {
    const found = await this.#readOn();
    const { ino } = await this.#file.stat();
    const now = await stat(this.#path).catch(() => undefined);
    if (now === undefined || now.ino === ino) return found;
    // it was rotated away since: its end first
    found.push(...(await this.#readOn()));
    await this.close();
    this.#file = await open(this.#path, 'r');
    this.#at = 0;
    this.#rest = Buffer.alloc(0);
    return [...found, ...(await this.#readOn())];
  }

  async #readOn(): Promise<string[]> {
    const found: string[] = [];
    const buffer = Buffer.alloc(READ_BYTES);
    for (;;) {
      const { bytesRead } = await this.#file.read(buffer, 0, READ_BYTES, this.#at);
      if (bytesRead === 0) return found;
      this.#at += bytesRead;
      const all = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
      const end = all.lastIndexOf(0x0a) + 1;
      this.#rest = all.subarray(end);
      found.push(...all.toString('utf8', 0, end).split('\n').slice(0, -1));
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
