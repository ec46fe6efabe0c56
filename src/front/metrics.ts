import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from '../audit/metrics.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';

/** Who scrapes asks from this machine; metrics name HSMs and actions, no keys and no principals. */
const ADDRESS = '127.0.0.1';

export const isMetricsRequest = ({ method, url }: IncomingMessage): boolean =>
  method === 'GET' && url === '/metrics';

/** Answers with all metrics in Prometheus's text format. */
export async function serveMetrics(
  response: ServerResponse,
  metrics: Metrics,
  log: Logger,
): Promise<void> {
  try {
    const { contentType, body } = await metrics.text();
    response.writeHead(200, { 'content-type': contentType }).end(body);
  } catch (error) {
    log.error({ err: error }, 'the metrics could not be read');
    response.writeHead(500).end();
  }
}

/** `http://127.0.0.1:PORT/metrics`, for those who want their metrics scraped. */
export class MetricsDoor {
  readonly #server: Server;

  constructor(metrics: Metrics, log: Logger) {
    this.#server = createServer((request, response) => {
      if (isMetricsRequest(request)) void serveMetrics(response, metrics, log);
      else response.writeHead(404).end();
    });
    this.#server.requestTimeout = LIMITS.handshake_timeout_ms;
    this.#server.maxConnections = LIMITS.metrics_connections_max;
  }

  /**
   * @param port 0 for any that is free
   * @returns the URL that answers from now on
   * @throws KeyspanError KeyspanConfig when the port cannot be had
   */
  async listen(port: number): Promise<string> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(port, ADDRESS, resolve);
      });
    } catch (cause) {
      const sentence = `The metrics' port ${port} of ${ADDRESS} cannot be listened on.`;
      throw new KeyspanError('KeyspanConfig', sentence, { cause });
    }
    const address = this.#server.address() as AddressInfo;
    return `http://${ADDRESS}:${address.port}/metrics`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }
}
