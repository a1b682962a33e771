import { checkDevice } from '../src/compiler/check-device.js';
import type { Device } from '../src/compiler/device.js';

/** What is tried beside the CPU, with why it is skipped. */
export const testDevices: readonly { readonly device: Device; readonly missing: string | undefined }[] =
  await Promise.all(
    (['webgpu', 'tensorflow', 'cuda'] as const).map(async (device) => {
      const check = await checkDevice(device);
      return { device, missing: check.works ? undefined : `${check.reason} (${check.hint})` };
    }),
  );
