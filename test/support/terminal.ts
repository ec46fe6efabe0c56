import { spawn } from 'node:child_process';

/**
 * Runs a command at a pseudo-terminal. A prompt is answered when what was printed since the last
 * answer contains it. Python has pseudo-terminals, Node has not.
 */
const DRIVER = `
import json, os, pty, sys
command, answers = json.loads(sys.argv[1]), json.loads(sys.argv[2])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
unanswered = ''
while True:
    try:
        chunk = os.read(terminal, 65536)
    except OSError:
        break
    if not chunk:
        break
    os.write(1, chunk)
    unanswered += chunk.decode(errors='replace')
    for prompt, answer in answers:
        if unanswered.rstrip().endswith(prompt):
            unanswered = ''
            os.write(terminal, (answer + '\\n').encode())
            break
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
`;

export interface TerminalRun {
  readonly command: readonly string[];
  /** the ends of prompts, with what a person types */
  readonly answers: readonly (readonly [prompt: string, answer: string])[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

/** @returns what the terminal showed, and the exit code */
export function runAtTerminal(run: TerminalRun): Promise<{ code: number | null; text: string }> {
  const { command, answers, cwd, env } = run;
  const args = ['-c', DRIVER, JSON.stringify(command), JSON.stringify(answers)];
  const child = spawn('python3', args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, text: text.replaceAll('\r\n', '\n') }));
  });
}
