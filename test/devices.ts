import { checkDevice } from '../src/compiler/check-device.js';
import type { Device } from '../src/compiler/device.js';
import { precisionsOf, type HalfPrecision } from '../src/compiler/precision.js';

/** What is tried beside the CPU, with why it is skipped. */
export const testDevices: readonly { readonly device: Device; readonly missing: string | undefined }[] =
  await Promise.all(
    (['webgpu', 'tensorflow', 'cuda'] as const).map(async (device) => {
      const check = await checkDevice(device);
      return { device, missing: check.works ? undefined : `${check.reason} (${check.hint})` };
    }),
  );

/** Halves on devices that have them, and emulated on the CPU. */
export const testHalves: readonly {
  readonly device: Device;
  readonly precision: HalfPrecision;
  readonly missing: string | undefined;
}[] = await Promise.all(
  (['cpu', 'webgpu', 'cuda'] as const).flatMap((device) => {
    const all = device === 'cpu' ? (['float16', 'bfloat16'] as const) : precisionsOf[device];
    return all.flatMap((precision) =>
      precision === 'float32'
        ? []
        : [
            (async () => {
              if (device === 'cpu') return { device, precision, missing: undefined };
              const check = await checkDevice(device, undefined, { precision });
              return { device, precision, missing: check.works ? undefined : check.reason };
            })(),
          ],
    );
  }),
);
