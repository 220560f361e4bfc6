#!/usr/bin/python3
"""Accuracy of --precision bf16 beside f32 on real YouTube-8M shards, as rows of a Markdown table.

    make build && scripts/bf16-accuracy.py --train 'DIR/validate00[0-3]?.tfrecord' --eval 'DIR/validate004?.tfrecord' \\
        --work WORK --nets logistic,mlp,conv1d --seeds 1,2

Ingests the shards once into WORK, trains every net in both precisions for each seed (a run that is finished is not
run again, one that was interrupted resumes), evaluates on the eval shards, and prints GAP and mAP. A pair of a seed
starts from the same weights and takes the videos in the same order, so what differs is the rounding alone.
"""
import argparse, statistics

from sdnn_runs import Work

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('--train', required=True)
ap.add_argument('--eval', required=True)
ap.add_argument('--work', required=True)
ap.add_argument('--nets', default='logistic,mlp,conv1d')
ap.add_argument('--seeds', default='1,2')
ap.add_argument('--sdnn', default='bin/sdnn')
a = ap.parse_args()

# Settings per net: epochs, batch, learning rate.
SETTINGS = {'logistic': (10, 128, 0.003), 'mlp': (8, 128, 0.001), 'conv1d': (3, 256, 0.001)}

work = Work(a.work, a.sdnn)
store = work.video_store(a.train, a.eval)


def gap(net, seed, precision):
    epochs, batch, lr = SETTINGS[net]
    run = work.train(f'{net}-{precision}-{seed}', '--data', store, '--net', net, '--epochs', str(epochs), '--batch', str(batch),
                     '--lr', str(lr), '--seed', seed, '--precision', precision, '--schedule', 'constant', '--validate-fraction', '0')
    r = work.evaluate(run, store)
    return r['gap'], r['map']


print('| net | seed | f32 GAP / mAP | bf16 GAP / mAP | bf16 - f32, GAP |')
print('|---|---|---|---|---|', flush=True)
for net in a.nets.split(','):
    pairs = []
    for seed in a.seeds.split(','):
        (f, fm), (b, bm) = gap(net, seed, 'f32'), gap(net, seed, 'bf16')
        pairs.append((f, b))
        print(f'| {net} | {seed} | {f:.5f} / {fm:.5f} | {b:.5f} / {bm:.5f} | {b-f:+.5f} |', flush=True)
    f, b = (statistics.mean(x) for x in zip(*pairs))
    print(f'| {net} | mean | {f:.5f} | {b:.5f} | {b-f:+.5f} |', flush=True)
