import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What a server counts, for Prometheus. A registry of its own: two servers in one process do not mix. */
export class ServerMetrics {
  private readonly registry = new Registry();
  private readonly requests = new Counter({
    name: 'lmvec_requests_total',
    help: 'Requests answered',
    labelNames: ['route', 'status'],
    registers: [this.registry],
  });
  private readonly seconds = new Histogram({
    name: 'lmvec_request_duration_seconds',
    help: 'Seconds from a request to its answer',
    labelNames: ['route'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [this.registry],
  });
  private readonly texts = new Counter({
    name: 'lmvec_texts_total',
    help: 'Texts embedded',
    registers: [this.registry],
  });
  private readonly tokens = new Counter({
    name: 'lmvec_tokens_total',
    help: 'Tokens embedded, prompts and special tokens included',
    registers: [this.registry],
  });
  private readonly batchTexts = new Histogram({
    name: 'lmvec_batch_texts',
    help: 'Texts of one run of the model',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    registers: [this.registry],
  });

  /** @param waiting - texts that wait at this moment */
  constructor(waiting: () => number) {
    new Gauge({
      name: 'lmvec_queue_texts',
      help: 'Texts that wait',
      registers: [this.registry],
      collect() {
        this.set(waiting());
      },
    });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  request(route: string, status: number, seconds: number): void {
    this.requests.inc({ route, status });
    this.seconds.observe({ route }, seconds);
  }

  batch({ texts, tokens }: { readonly texts: number; readonly tokens: number }): void {
    this.texts.inc(texts);
    this.tokens.inc(tokens);
    this.batchTexts.observe(texts);
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}
