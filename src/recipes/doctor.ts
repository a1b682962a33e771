import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { checkDevice, type DeviceCheck } from '../compiler/check-device.js';
import { devices, type Device } from '../compiler/device.js';
import { precisionsOf, type ComputePrecision } from '../compiler/precision.js';
import { deviceFolder } from '../shared/device-folder.js';
import { assetPath, packageVersions } from '../shared/package.js';

/** What a machine has. Bytes, floating-point operations per second. */
export interface MachineReport {
  readonly versions: Readonly<Record<string, string>>;
  readonly processor: string;
  readonly threads: number;
  readonly memory: number;
  readonly freeMemory: number;
  /** Free on the disk of the working folder. */
  readonly freeDisk: number;
  /** Whether the embedded decoder came with the package. */
  readonly embedded: boolean;
  /** Where `lmvec setup` puts what a device needs. */
  readonly deviceFolder: string;
  readonly devices: Readonly<Record<Device, DeviceCheck & DeviceHalves>>;
}

/** The other precisions that a device may have, where it works. */
interface DeviceHalves {
  readonly halves?: Readonly<Partial<Record<ComputePrecision, DeviceCheck>>>;
}

/** Large enough that a GPU is measured and not the way to it; on the CPU some tens of milliseconds. */
const SIZE: Readonly<Record<Device, number>> = { cpu: 2048, webgpu: 1024, cuda: 8192, tensorflow: 2048 };

/** Looks at the machine and multiplies matrices on each device, each in a process of its own, one after the other. */
export async function examineMachine(): Promise<MachineReport> {
  const { lmvec, dependencies } = packageVersions();
  const checks: Partial<Record<Device, DeviceCheck & DeviceHalves>> = {};
  for (const device of devices) {
    const check = await checkDevice(device, SIZE[device]);
    checks[device] = { ...check, ...(check.works ? await checkHalves(device) : {}) };
  }
  const { bavail, bsize } = await statfs('.');
  return {
    versions: {
      lmvec,
      node: process.version,
      'onnxruntime-node': dependencies['onnxruntime-node'] ?? '',
    },
    processor: cpus()[0]?.model ?? 'unknown',
    threads: availableParallelism(),
    memory: totalmem(),
    freeMemory: freemem(),
    freeDisk: bavail * bsize,
    embedded: existsSync(assetPath('tiny', 'model.safetensors')),
    deviceFolder: deviceFolder(),
    devices: checks as MachineReport['devices'],
  };
}

async function checkHalves(device: Device): Promise<DeviceHalves> {
  const halves: Partial<Record<ComputePrecision, DeviceCheck>> = {};
  for (const precision of precisionsOf[device])
    if (precision !== 'float32') halves[precision] = await checkDevice(device, SIZE[device], { precision });
  return Object.keys(halves).length === 0 ? {} : { halves };
}

/** The report as lines for a reader. */
export function machineLines(report: MachineReport): string[] {
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  return [
    Object.entries(report.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
    `${report.processor}, ${report.threads} threads`,
    `${gigabytes(report.memory)} of memory, ${gigabytes(report.freeMemory)} free; ${gigabytes(report.freeDisk)} free on this disk`,
    `embedded decoder: ${report.embedded ? 'there' : 'missing: install lmvec again'}`,
    `devices' parts: ${report.deviceFolder}`,
    '',
    ...Object.entries(report.devices).map(([name, check]) => `${name.padEnd(12)}${deviceLine(check)}`),
  ];
}

function deviceLine(check: DeviceCheck & DeviceHalves): string {
  if (!check.works) return `no: ${check.reason} (${check.hint})`;
  const gpu = check.gpu === undefined ? '' : check.gpu ? ', on a GPU' : ', on the CPU';
  const rate = (flops: number, precision: string): string =>
    `${(flops / 1e9).toFixed(0)} GFLOPS in ${precision}`;
  const halves = Object.entries(check.halves ?? {}).map(
    ([precision, half]) => `, ${half.works ? rate(half.flopsPerSecond, precision) : `no ${precision}`}`,
  );
  return `yes, ${rate(check.flopsPerSecond, 'float32')}${halves.join('')}${gpu}`;
}
