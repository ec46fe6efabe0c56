import { spawn } from 'node:child_process';
import { packageFile } from '../../src/core/entry.js';

/** Plays a person at a terminal: waits for each text to appear, then types what belongs to it. */
const PLAYER = `
import json, os, pty, select, sys
steps, args = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(args[0], args)
seen, at, ended = b'', 0, False
def read():
    global seen, ended
    if not select.select([terminal], [], [], 40)[0]:
        sys.exit('nothing more came: ' + seen[at:].decode())
    try:
        chunk = os.read(terminal, 65536)
    except OSError:
        chunk = b''
    ended = ended or chunk == b''
    seen += chunk
for awaited, typed in steps:
    while awaited.encode() not in seen[at:]:
        read()
        if ended:
            sys.exit('it ended before: ' + awaited + ' in ' + seen.decode())
    at = seen.index(awaited.encode(), at) + len(awaited.encode())
    os.write(terminal, typed.encode())
while not ended:
    read()
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps({'code': code, 'screen': seen.decode()}))
`;

export interface Dialogue {
  readonly code: number;
  /** all that the terminal showed, with what it echoed */
  readonly screen: string;
}

/**
 * Runs one of the compiled programs at a terminal of its own.
 * @param steps what must have appeared since the step before, and what is typed then
 * @throws Error when a text does not appear
 */
export async function atTerminal(
  entry: string,
  args: readonly string[],
  options: { readonly home: string; readonly steps: readonly (readonly [string, string])[] },
): Promise<Dialogue> {
  const { home, steps } = options;
  const env = { ...process.env, KEYSPAN_HOME: home, TERM: 'xterm' };
  const program = [process.execPath, packageFile(entry), ...args];
  const child = spawn('python3', ['-c', PLAYER, JSON.stringify(steps), ...program], { env });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Dialogue;
}
