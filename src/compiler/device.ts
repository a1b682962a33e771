/** Where programs run: compiled for ONNX Runtime (cpu, webgpu, cuda), or eagerly in TensorFlow. */
export const devices = ['cpu', 'webgpu', 'cuda', 'tensorflow'] as const;
export type Device = (typeof devices)[number];

/** What a user may ask for; `auto` is CUDA where ONNX Runtime has its provider and it works, else the CPU. */
export const deviceChoices = ['auto', ...devices] as const;
export type DeviceChoice = (typeof deviceChoices)[number];
