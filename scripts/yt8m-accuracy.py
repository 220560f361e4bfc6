#!/usr/bin/python3
"""Accuracy of plain and subclass training on real YouTube-8M shards, as rows of Markdown tables.

    make build && scripts/yt8m-accuracy.py --train 'DIR/validate00[0-3]?.tfrecord' --eval 'DIR/validate004?.tfrecord' \\
        --work WORK --nets logistic,mlp,moe,conv1d --seeds 1,2,3

Ingests the shards once into WORK, trains every net plain and with --subclass for each seed (a run that is finished
is not run again, one that was interrupted resumes), evaluates on the eval shards with --against the plain run of the
same seed, and prints GAP and mAP of both, and the mean AP of the classes that stage 1 called neglected, under both.
"""
import argparse, statistics

from sdnn_runs import Work

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('--train', required=True)
ap.add_argument('--eval', required=True)
ap.add_argument('--work', required=True)
ap.add_argument('--nets', default='logistic,mlp,moe,conv1d')
ap.add_argument('--seeds', default='1,2,3')
ap.add_argument('--neglected', default='100')
ap.add_argument('--extra', default='', help='more flags for the subclass runs, for instance "--split random"')
ap.add_argument('--tag', default='subclass', help='name of the subclass variant')
ap.add_argument('--sdnn', default='bin/sdnn')
a = ap.parse_args()

# Settings per net: epochs, batch, learning rate, stage-1 epochs.
SETTINGS = {'logistic': (30, 128, 0.003, 5), 'mlp': (8, 128, 0.001, 2), 'moe': (10, 128, 0.003, 3), 'conv1d': (3, 256, 0.001, 1)}

work = Work(a.work, a.sdnn)
store = work.video_store(a.train, a.eval)


def train(net, seed, tag, extra):
    epochs, batch, lr, stage1 = SETTINGS[net]
    args = ['--data', store, '--net', net, '--epochs', str(epochs), '--batch', str(batch), '--lr', str(lr), '--seed', seed]
    if tag != 'plain':
        args += ['--subclass', '--neglected', a.neglected, '--neglect-epochs', str(stage1)] + extra
    return work.train(f'{net}-{tag}-{seed}', *args)


print('| net | seed | plain GAP / mAP | ' + a.tag + ' GAP / mAP | neglected classes: mean AP plain -> ' + a.tag + ' | the rest: plain -> ' + a.tag + ' |')
print('|---|---|---|---|---|---|', flush=True)
for net in a.nets.split(','):
    gaps = []
    for seed in a.seeds.split(','):
        plain = train(net, seed, 'plain', [])
        sub = train(net, seed, a.tag, a.extra.split())
        p = work.evaluate(plain, store)
        s = work.evaluate(sub, store, '--against', plain)
        g = s['against']
        gaps.append((p['gap'], s['gap']))
        n0, n1, r0, r1 = (g[part][when] for part in ('neglected', 'rest') for when in ('before', 'after'))
        print(f"| {net} | {seed} | {p['gap']:.5f} / {p['map']:.5f} | {s['gap']:.5f} / {s['map']:.5f} | {n0:.4f} -> {n1:.4f} | {r0:.4f} -> {r1:.4f} |", flush=True)
    m = [statistics.mean(x) for x in zip(*gaps)]
    print(f'| {net} | mean | {m[0]:.5f} | {m[1]:.5f} | | |', flush=True)
