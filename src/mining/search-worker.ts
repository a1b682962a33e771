import { workerData } from 'node:worker_threads';
import { answerRequests } from '../shared/worker-thread.js';
import { BlockSearch, type SearchStart } from './block-search.js';

/** A worker thread of `exactSearch`. */
const search = new BlockSearch(workerData as SearchStart);
answerRequests(search.search.bind(search), () => []);
