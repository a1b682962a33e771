import { customGrad, gatherND, oneHot, range, stack, type Tensor } from '@tensorflow/tfjs';

/**
 * -log softmax(logits)[label] of every row: logits [M, V] and labels [M] (int32) to [M].
 * The gradient, softmax minus one at the label, is written by hand: the derived one would build several tensors of the size of the logits.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const loss = customGrad((...args) => {
    const [x, save] = args as unknown as [Tensor, (tensors: Tensor[]) => void];
    const [rows] = x.shape as [number, number];
    const highest = x.max(-1, true);
    const logSum = x.sub(highest).exp().sum(-1, true).log().add(highest);
    const places = stack([range(0, rows, 1, 'int32'), labels], 1);
    save([x, logSum]);
    return {
      value: logSum.reshape([rows]).sub(gatherND(x, places)),
      gradFunc: (dy: Tensor, saved: Tensor[]) => [gradient(dy, labels, saved)],
    };
  });
  return loss(logits);
}

function gradient(dy: Tensor, labels: Tensor, saved: Tensor[]): Tensor {
  const [x, logSum] = saved as [Tensor, Tensor];
  const [rows, classes] = x.shape as [number, number];
  const probabilities = x.sub(logSum).exp();
  return probabilities.sub(oneHot(labels, classes)).mul(dy.reshape([rows, 1]));
}
