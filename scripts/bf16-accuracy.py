#!/usr/bin/python3
"""Accuracy of --precision bf16 beside f32 on real YouTube-8M shards, as rows of a Markdown table.

    make build && scripts/bf16-accuracy.py --train 'DIR/validate00[0-3]?.tfrecord' --eval 'DIR/validate004?.tfrecord' \\
        --work WORK --nets logistic,mlp,conv1d --seeds 1,2

Ingests the shards once into WORK, trains every net in both precisions for each seed (a run that is finished is not
run again, one that was interrupted resumes), evaluates on the eval shards, and prints GAP and mAP. A pair of a seed
starts from the same weights and takes the videos in the same order, so what differs is the rounding alone.
"""
import argparse, json, os, statistics, subprocess, sys

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


def sdnn(*args):
    p = subprocess.run([a.sdnn, *args, '--json', '--quiet'], stdout=subprocess.PIPE, text=True)
    if p.returncode:
        sys.exit(f'sdnn {" ".join(args)}: status {p.returncode}')
    lines = [l for l in p.stdout.splitlines() if l.startswith('{')]
    return json.loads(lines[-1]) if lines else {}


store = os.path.join(a.work, 'store')
if not os.path.exists(os.path.join(store, 'manifest.json')):
    os.makedirs(a.work, exist_ok=True)
    sdnn('ingest', 'yt8m', '--out', store, '--split', 'train', a.train)
    sdnn('ingest', 'yt8m', '--out', store, '--split', 'test', a.eval)


def gap(net, seed, precision):
    run = os.path.join(a.work, f'{net}-{precision}-{seed}')
    epochs, batch, lr = SETTINGS[net]
    args = ['train', '--data', store, '--out', run, '--net', net, '--epochs', str(epochs), '--batch', str(batch), '--lr', str(lr),
            '--validate-fraction', '0', '--seed', seed, '--precision', precision]
    if os.path.exists(run):
        args.append('--resume')
    sdnn(*args)
    r = sdnn('eval', '--run', run, '--data', store, '--split', 'test')
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
