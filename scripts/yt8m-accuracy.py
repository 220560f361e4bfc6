#!/usr/bin/python3
"""Accuracy on real YouTube-8M shards with no setting but the net: plain, subclass, and subclass with a random split.

    make build && scripts/yt8m-accuracy.py --train 'DIR/validate00[0-3]?.tfrecord' --eval 'DIR/validate004?.tfrecord' \\
        --work WORK --nets logistic,mlp,moe,conv1d --seeds 1,2,3 [--torch torch_yt8m.py]

Ingests the shards once into WORK, trains every net in each variant for each seed (a run that is finished is not run again, one
that was interrupted resumes), evaluates on the eval shards, and prints rows of Markdown tables: GAP and mAP, those without
logit adjustment, and, beside the plain run of the same seed, the mean AP of the classes that stage 1 called neglected and of the
others. A tenth of the training videos is held out by the runs themselves, for the best epoch and the logit adjustment.

--torch names a PyTorch script that trains the same nets from the same start (--bias prior --schedule linear), on all training
videos, with the epochs, batch and rate of our runs; it prints a line of JSON.
"""
import argparse, glob, json, os, statistics, subprocess, sys

from sdnn_runs import Work

VARIANTS = {'plain': [], 'subclass': ['--subclass'], 'random': ['--subclass', '--split', 'random']}

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('--train', required=True)
ap.add_argument('--eval', required=True)
ap.add_argument('--work', required=True)
ap.add_argument('--nets', default='logistic,mlp,moe,conv1d')
ap.add_argument('--seeds', default='1,2,3')
ap.add_argument('--variants', default=','.join(VARIANTS))
ap.add_argument('--torch', help='also run this PyTorch script with the same settings')
ap.add_argument('--python', default='/usr/bin/python3', help='the Python that has PyTorch')
ap.add_argument('--sdnn', default='bin/sdnn')
a = ap.parse_args()

work = Work(a.work, a.sdnn)
store = work.video_store(a.train, a.eval)


def row(*cells):
    print('| ' + ' | '.join(cells) + ' |', flush=True)


def score(x):
    return f"{x['gap']:.4f} / {x['map']:.4f}"


def torch(net, seed, run):
    """The metrics of PyTorch with the settings of a run; kept in the work folder."""
    kept = os.path.join(a.work, f'torch-{net}-{seed}.json')
    if not os.path.exists(kept):
        c = json.load(open(os.path.join(run, 'config.json')))
        p = subprocess.run([a.python, a.torch, '--train', *sorted(glob.glob(a.train)), '--eval', *sorted(glob.glob(a.eval)), '--net', net,
                            '--epochs', str(c['epochs']), '--batch', str(c['batch']), '--lr', str(c['lr']), '--bias', 'prior',
                            '--schedule', 'linear', '--seed', seed], stdout=subprocess.PIPE, text=True)
        if p.returncode:
            sys.exit(f'{a.torch}: status {p.returncode}')
        open(kept, 'w').write(p.stdout)
    return json.loads(open(kept).read())


row('net', 'variant', 'seed', 'GAP / mAP', 'without logit adjustment', 'tau', 'AP of the neglected: plain -> variant', 'AP of the others')
row(*['---'] * 8)
for net in a.nets.split(','):
    for variant in a.variants.split(','):
        gaps, maps = [], []
        for seed in a.seeds.split(','):
            run = work.train(f'{net}-{variant}-{seed}', '--data', store, '--net', net, '--seed', seed, *VARIANTS[variant])
            against = [] if variant == 'plain' else ['--against', os.path.join(a.work, f'{net}-plain-{seed}')]
            r = work.evaluate(run, store, *against)
            bare = work.evaluate(run, store, '--logit-adjust', 'none')
            groups = ['', '']
            if against:
                groups = [f"{g['before']:.4f} -> {g['after']:.4f}" for g in (r['against']['neglected'], r['against']['rest'])]
            row(net, variant, seed, score(r), score(bare), f"{r['logit_adjust']:g}", *groups)
            gaps.append(r['gap'])
            maps.append(r['map'])
        row(net, variant, 'mean', f'{statistics.mean(gaps):.4f} / {statistics.mean(maps):.4f}', '', '', '', '')
    if a.torch:
        for seed in a.seeds.split(','):
            row(net, 'PyTorch', seed, '', score(torch(net, seed, os.path.join(a.work, f'{net}-plain-{seed}'))), '', '', '')
