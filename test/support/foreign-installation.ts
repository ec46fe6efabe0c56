import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findHome, type Home } from '../../src/core/home.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import { ForeignEni, type Arrival } from './foreign-daemon.js';
import { makeTlsFiles } from './tls-files.js';

/** What the operator's socket answers; `error` becomes a 400. */
export type AdminBehaviour = (action: string, params: object) => unknown;

/**
 * An installation that a test plays: a home with certificates, the operator's socket and one
 * ENI with just enough of KMS. Nothing in it is ours, so the tools are tested as clients.
 */
export class ForeignInstallation {
  readonly home: Home;
  readonly calls: { action: string; params: object }[] = [];
  admin: AdminBehaviour = () => ({});
  #eni: ForeignEni | undefined;
  #server: Server | undefined;
  readonly #folder: string;

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'keyspan-foreign-'));
    this.home = findHome(join(this.#folder, 'home'));
  }

  /** A path of a file that goes with the installation. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  get eni(): ForeignEni {
    if (!this.#eni) throw new Error('not started');
    return this.#eni;
  }

  async start(): Promise<this> {
    const files = makeTlsFiles();
    for (const folder of [this.home.secrets, this.home.public, this.home.runtime, this.home.logs]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    writeFileSync(this.home.customerCa, files.ca);
    writeFileSync(this.home.clientCertificate, files.client.certificate);
    writeFileSync(this.home.clientKey, files.client.privateKey);
    this.#eni = await new ForeignEni(files, playKms).listen();
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const action = (request.url ?? '').replace('/v1/', '');
        const params = JSON.parse(Buffer.concat(chunks).toString('utf8')) as object;
        this.calls.push({ action, params });
        const answer = action === 'Status' ? this.status() : this.admin(action, params);
        const failed = typeof answer === 'object' && answer !== null && 'error' in answer;
        response.writeHead(failed ? 400 : 200).end(JSON.stringify(answer));
      });
    });
    await new Promise<void>((resolve) => server.listen(this.home.adminSocket, resolve));
    this.#server = server;
    return this;
  }

  status(): StatusDocument {
    const hsm = { az: 'us-east-1a', eniIp: '127.0.0.1', pid: 7, keys: 3 };
    return {
      state: 'READY',
      version: '0.1.0',
      home: this.home.root,
      pid: process.pid,
      ephemeral: false,
      region: 'us-east-1',
      account: '000000000000',
      clusters: [],
      cluster: {
        id: 'cluster-aaaaaaaaaaa',
        state: 'ACTIVE',
        region: 'us-east-1',
        account: '000000000000',
        keyAvailabilityCheck: true,
        hsms: [{ id: 'hsm-aaaaaaaaaaa', state: 'ACTIVE', ...hsm }],
      },
      endpoints: {
        aws: 'http://127.0.0.1:1',
        websocket: [this.eni.endpoint],
        pkcs11: '/nowhere/pkcs11.sock',
      },
    };
  }

  async stop(): Promise<void> {
    await this.#eni?.stop();
    const server = this.#server;
    if (server) await new Promise((resolve) => server.close(resolve));
    rmSync(this.home.runtime, { recursive: true, force: true });
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const KEY = Buffer.alloc(32, 1);

/** Data keys under one AES-GCM key, with the context as AAD; takes CBOR and JSON. */
function playKms({ request, answer, refuse }: Arrival): void {
  const { action, params } = request;
  const aad = Buffer.from(JSON.stringify(params['EncryptionContext'] ?? {}));
  if (action === 'GenerateDataKey') {
    const plaintext = randomBytes(32);
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', KEY, iv).setAAD(aad);
    const sealed = Buffer.concat([
      iv,
      cipher.update(plaintext),
      cipher.final(),
      cipher.getAuthTag(),
    ]);
    answer({ Plaintext: plaintext, CiphertextBlob: sealed, KeyId: params['KeyId'] });
  } else if (action === 'Decrypt') {
    const blob = Buffer.from(params['CiphertextBlob'] as Uint8Array);
    try {
      const decipher = createDecipheriv('aes-256-gcm', KEY, blob.subarray(0, 12)).setAAD(aad);
      decipher.setAuthTag(blob.subarray(-16));
      const plaintext = decipher.update(blob.subarray(12, -16));
      decipher.final();
      answer({ Plaintext: plaintext, KeyId: 'key' });
    } catch {
      refuse('InvalidCiphertextException', '');
    }
  } else if (action === 'Echo') {
    answer({ ...params }, 'hsm-aaaaaaaaaaa');
  } else {
    refuse('UnknownOperationException', `there is no ${action}`);
  }
}
